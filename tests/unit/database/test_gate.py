"""The write gate: first come, first served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from async_commander.database.gate import GateLeft, WriteGate


class Someone:
    given_up = False


@contextmanager
def inside(gate: WriteGate) -> Iterator[None]:
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


def in_thread(function: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def wait_for_queue(gate: WriteGate, length: int) -> None:
    for _ in range(10_000):
        if gate.waiting == length:
            return
        threading.Event().wait(0.001)
    pytest.fail(f"{gate.waiting} wait at the gate, not {length}")


def test_threads_pass_in_the_order_of_their_coming() -> None:
    gate, passed = WriteGate(), []

    def go(number: int) -> None:
        with inside(gate):
            passed.append(number)

    with inside(gate):
        threads = []
        for number in range(10):
            threads.append(in_thread(go, number))
            wait_for_queue(gate, number + 1)
    for thread in threads:
        thread.join(10)
    assert passed == list(range(10))
    assert not gate.held


def test_one_thread_at_a_time_is_in() -> None:
    gate, now, worst = WriteGate(), [0], [0]

    def go() -> None:
        for _ in range(200):
            with inside(gate):
                now[0] += 1
                worst[0] = max(worst[0], now[0])
                now[0] -= 1

    threads = [in_thread(go) for _ in range(4)]
    for thread in threads:
        thread.join(20)
    assert worst == [1]


def test_the_thread_that_is_in_may_enter_again() -> None:
    gate = WriteGate()
    with inside(gate), inside(gate):
        assert gate.held
    assert not gate.held


def test_who_is_given_up_leaves_the_queue_at_once() -> None:
    gate, someone, errors = WriteGate(), Someone(), []

    def go() -> None:
        try:
            gate.enter(someone)
        except GateLeft as error:
            errors.append(error)

    with inside(gate):
        thread = in_thread(go)
        wait_for_queue(gate, 1)
        gate.send_away(someone)
        thread.join(10)
        assert len(errors) == 1
        assert gate.waiting == 0


def test_who_was_given_up_before_is_not_let_in() -> None:
    gate, someone = WriteGate(), Someone()
    gate.send_away(someone)
    with pytest.raises(GateLeft):
        gate.enter(someone)
    assert not gate.held


def test_leaving_without_having_entered_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="without having entered"):
        WriteGate().leave()
