"""Daemon threads: bounded, reused, and nobody's business at the end."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from async_commander.engine import threads
from async_commander.engine.threads import DaemonThreads

SECONDS = 30


def test_results_and_errors_come_back() -> None:
    pool = DaemonThreads(2, name="test")
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result(SECONDS)
    with pytest.raises(RuntimeError, match="StopIteration"):
        pool.submit(next, iter([])).result(SECONDS)


def test_there_are_never_more_threads_than_its_size() -> None:
    pool, together, seen = DaemonThreads(3, name="test"), threading.Barrier(3), set[int]()

    def meet() -> None:
        together.wait(SECONDS)
        seen.add(threading.get_ident())

    calls = [pool.submit(meet) for _ in range(30)]
    for call in calls:
        call.result(SECONDS)
    assert len(seen) == 3


def test_an_idle_thread_ends_and_another_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    pool = DaemonThreads(1, name="test")
    first = pool.submit(threading.current_thread).result(SECONDS)
    first.join(SECONDS)
    assert not first.is_alive()
    assert pool.submit(threading.current_thread).result(SECONDS) is not first


def test_what_was_not_begun_is_cancelled_at_the_end() -> None:
    pool, begun, go = DaemonThreads(1, name="test"), threading.Event(), threading.Event()
    first = pool.submit(lambda: (begun.set(), go.wait(SECONDS)))
    second = pool.submit(int)
    assert begun.wait(SECONDS)
    pool.shutdown()
    assert second.cancelled()
    assert not first.done()
    go.set()
    assert first.result(SECONDS)


def test_a_process_does_not_wait_for_a_call_that_blocks() -> None:
    program = (
        "import threading\n"
        "from async_commander.engine.threads import DaemonThreads\n"
        "begun = threading.Event()\n"
        "DaemonThreads(1, name='test').submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)
