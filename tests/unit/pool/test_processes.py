from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import pytest

from async_commander.exceptions import ItemError
from async_commander.pool import processes
from async_commander.pool.child import SMALL, Hooks
from async_commander.pool.payload import RemoteError, RemoteTraceback, UnpicklablePayload
from async_commander.pool.processes import ChildCrashed, PoolClosed, PoolStartFailed, ProcessPool, shared_pool
from tests.unit.pool import pool_work as work
from tests.unit.pool.own_pools import own_pool, pids_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

PAGE = b"x" * (8 << 20)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real clocks: other processes do not wait for a virtual one."""
    return str(request.param)


@pytest.fixture(scope="module", name="pool")
def pool_of_two() -> Iterator[ProcessPool]:
    """One pool of two, used by all tests that do not harm it, from an event loop for each."""
    pool = ProcessPool(2)
    yield pool
    pool.kill()
    pool.join(10)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# ---------------------------------------------------------------------------------------------- results and errors


async def test_a_call_returns_its_result_from_another_process(pool: ProcessPool) -> None:
    assert await pool.run(work.add, 1, 2) == 3
    assert await pool.run(work.pid) != os.getpid()


async def test_many_calls_each_get_their_own_result(pool: ProcessPool) -> None:
    results: dict[int, int] = {}

    async def call(number: int) -> None:
        results[number] = await pool.run(work.add, number, 1000)

    async with anyio.create_task_group() as calls:
        for number in range(300):
            calls.start_soon(call, number)
    assert results == {number: number + 1000 for number in range(300)}


async def test_large_pages_travel_both_ways_while_the_loop_goes_on(pool: ProcessPool) -> None:
    results: list[bytes] = []
    turns = 0

    async def call() -> None:
        results.append(await pool.run(work.double_page, PAGE))

    async with anyio.create_task_group() as watch:
        async with anyio.create_task_group() as calls:
            for _ in range(4):
                calls.start_soon(call)
            while len(results) < 4:
                turns += 1
                await anyio.sleep(0.001)
        watch.cancel_scope.cancel()
    assert [len(result) for result in results] == [2 * len(PAGE)] * 4
    assert turns > 10


async def test_whatever_its_size_a_value_travels_whole(pool: ProcessPool) -> None:
    sizes = [0, 1, 100, SMALL - 20, SMALL, SMALL + 1, 212_992, 1 << 20]
    assert [len(await pool.run(work.echo, b"x" * size)) for size in sizes] == sizes
    assert [len(await pool.run(work.make, size)) for size in sizes] == sizes


async def test_an_error_comes_back_with_its_remote_traceback(pool: ProcessPool) -> None:
    with pytest.raises(ValueError, match="no page") as caught:
        await pool.run(work.fail, "plain")
    assert caught.value.args == ("no page", 404)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    assert "child.py" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("unreadable", "fail raised Unreadable: 4 no page"),
        ("unwritable", "fail raised Unwritable: holds a lambda"),
        ("cancelled", "fail raised CancelledError: not yours"),
        ("interrupt", "fail raised KeyboardInterrupt"),
        ("exit", "fail raised SystemExit: 3"),
    ],
)
async def test_an_error_that_cannot_be_raised_here_is_told_in_words(pool: ProcessPool, kind: str, text: str) -> None:
    with pytest.raises(RemoteError) as caught:
        await pool.run(work.fail, kind)
    assert str(caught.value) == text
    assert "in fail" in str(caught.value.__cause__)


async def test_an_error_without_text_and_a_deep_recursion_come_back(pool: ProcessPool) -> None:
    with pytest.raises(work.Wordless):
        await pool.run(work.fail, "wordless")
    with pytest.raises(RecursionError):
        await pool.run(work.recurse)


async def test_the_same_child_goes_on_after_errors() -> None:
    async with own_pool(1) as pool:
        pids = {await pool.run(work.pid)}
        for kind in ("plain", "cancelled", "interrupt", "exit"):
            with pytest.raises(BaseException):  # noqa: B017
                await pool.run(work.fail, kind)
            pids.add(await pool.run(work.pid))
        assert len(pids) == 1


# ------------------------------------------------------------------------------------------- what does not travel


def local_function() -> Callable[[], None]:
    def inside() -> None: ...

    return inside


def made_in_main() -> Callable[[], None]:
    def extract() -> None: ...

    extract.__module__, extract.__qualname__ = "__main__", "extract"
    return extract


@pytest.mark.parametrize(
    ("function", "args", "text"),
    [
        (lambda: None, (), r"function <lambda> cannot be sent .*at the top of an importable module"),
        (local_function(), (), r"function local_function.<locals>.inside cannot be sent"),
        (made_in_main(), (), r"function extract is defined in the script .*move it to an importable module"),
        (work.add, (1, (n for n in (1, 2))), r"argument 2 of add, a generator, cannot be sent .*plain data"),
        (work.echo, (threading.Lock(),), r"argument 1 of echo, a lock, cannot be sent"),
        (work.echo, (work.OnlyAtHome(),), r"could not be loaded in the pool process \(ValueError: not at home\)"),
        (work.a_generator, (), r"the result of a_generator, a generator, cannot be sent back .*return plain data"),
        (work.a_stranger, (), r"the result of a_stranger could not be loaded here \(ValueError: not at home\)"),
    ],
)
async def test_what_cannot_travel_is_named_with_the_remedy(
    pool: ProcessPool, function: Callable[..., Any], args: tuple[Any, ...], text: str
) -> None:
    with pytest.raises(UnpicklablePayload, match=text):
        await pool.run(function, *args)
    assert await pool.run(work.add, 1, 1) == 2


async def test_an_async_function_is_refused(pool: ProcessPool) -> None:
    with pytest.raises(TypeError, match="wait is an async def"):
        await pool.run(cast("Any", work.wait))
    with pytest.raises(TypeError, match=r"(wait|partial) is an async def"):
        await pool.run(cast("Any", functools.partial(work.wait)))
    with pytest.raises(TypeError, match="a_coroutine returned a coroutine"):
        await pool.run(work.a_coroutine)


async def test_what_is_not_callable_is_refused(pool: ProcessPool) -> None:
    with pytest.raises(TypeError, match="3 is not callable"):
        await pool.run(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "at least 1"),
        ({"size": 1, "crashes_allowed": 0}, "at least 1"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ProcessPool(**options)


# ---------------------------------------------------------------------------------------------------- cancellation


async def test_a_cancelled_call_that_waits_never_runs(tmp_path: Path) -> None:
    running, gate, never = tmp_path / "running", tmp_path / "gate", tmp_path / "never"
    async with own_pool(1) as pool, anyio.create_task_group() as calls:
        calls.start_soon(pool.run, work.note_and_wait, str(running), str(gate))
        await until(lambda: bool(lines(running)))
        with anyio.move_on_after(0.01) as scope:
            await pool.run(work.note, str(never))
        assert scope.cancelled_caught
        gate.touch()
        assert await pool.run(work.add, 1, 1) == 2
        assert not never.exists()


async def test_a_cancelled_call_that_runs_is_ended_with_its_process_at_once(tmp_path: Path) -> None:
    running = tmp_path / "running"
    async with own_pool(1) as pool:
        async with anyio.create_task_group() as calls:
            calls.start_soon(pool.run, work.note_and_spin, str(running))
            await until(lambda: bool(lines(running)))
            calls.cancel_scope.cancel()
        assert await pool.run(work.echo, "mine") == "mine"  # and not the answer to the one before
        assert gone(int(lines(running)[0]))
        assert len(lines(running)) == 1  # it was not run again


async def test_a_call_in_a_cancelled_scope_is_not_sent(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await pool.run(work.note, str(tmp_path / "never"))
        assert scope.cancelled_caught
        await pool.run(work.pid)
        assert not (tmp_path / "never").exists()


async def test_ending_a_cancelled_call_touches_no_other(tmp_path: Path) -> None:
    abandoned, running, gate = tmp_path / "abandoned", tmp_path / "running", tmp_path / "gate"
    async with own_pool(2) as pool, anyio.create_task_group() as calls:
        async with anyio.create_task_group() as others:
            calls.start_soon(pool.run, work.note_and_wait, str(running), str(gate))
            others.start_soon(pool.run, work.note_and_spin, str(abandoned))
            await until(lambda: bool(lines(abandoned) and lines(running)))
            others.cancel_scope.cancel()
        await until(lambda: gone(int(lines(abandoned)[0])))
        assert not gone(int(lines(running)[0]))
        gate.touch()
    assert len(lines(running)) == 1


# ---------------------------------------------------------------------------------------------------------- crashes


async def test_a_function_that_always_kills_its_process_is_given_up_after_three_times(tmp_path: Path) -> None:
    async with own_pool(2) as pool:
        with pytest.raises(ChildCrashed, match=r"note_and_die ended its process 3 times, .*SIGKILL") as caught:
            await pool.run(work.note_and_die, str(tmp_path / "starts"))
        assert isinstance(caught.value, ItemError)
        assert caught.value.reason == "crashed"
        assert len(set(lines(tmp_path / "starts"))) == 3
        assert await pool.run(work.add, 1, 1) == 2


async def test_a_function_that_crashed_once_is_run_again(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        assert await pool.run(work.die_once, str(tmp_path / "starts"), 5) == 5
        assert lines(tmp_path / "starts") == ["5", "5"]


async def test_a_crash_costs_only_the_call_that_was_running(tmp_path: Path) -> None:
    results: list[int] = []
    crashed: list[int] = []

    async def call(number: int) -> None:
        try:
            results.append(await pool.run(work.die_if, str(tmp_path / "starts"), number, 60))
        except ChildCrashed:
            crashed.append(number)

    async with own_pool(1) as pool:
        async with anyio.create_task_group() as calls:
            for number in range(100):
                calls.start_soon(call, number)
        assert sorted(results) == [number for number in range(100) if number != 60]
        assert crashed == [60]
        starts = lines(tmp_path / "starts")
        assert starts.count("60") == 3
        assert len(starts) == 102  # nothing else was run twice, although calls travelled in groups


async def test_a_neighbour_is_not_touched_by_a_crash(tmp_path: Path) -> None:
    running, gate = tmp_path / "running", tmp_path / "gate"
    async with own_pool(2) as pool, anyio.create_task_group() as calls:
        calls.start_soon(pool.run, work.note_and_wait, str(running), str(gate))
        await until(lambda: bool(lines(running)))
        with pytest.raises(ChildCrashed):
            await pool.run(work.note_and_die, str(tmp_path / "starts"))
        assert not gone(int(lines(running)[0]))
        gate.touch()
    assert len(lines(running)) == 1


async def test_a_function_that_wants_too_much_memory_is_given_up() -> None:
    async with own_pool(1) as pool:
        with pytest.raises(ChildCrashed, match="ran out of memory"):
            await pool.run(work.take_memory)
        assert await pool.run(work.add, 1, 1) == 2


@pytest.mark.parametrize("page", [b"", PAGE], ids=["small", "large"])
async def test_a_call_that_was_not_begun_is_no_suspect(page: bytes) -> None:
    lengths: list[int] = []

    async def call() -> None:
        lengths.append(len(await pool.run(work.double_page, page)))

    async with own_pool(1, crashes_allowed=1) as pool, anyio.create_task_group() as calls:
        stopped = await pool.run(work.pid)
        os.kill(stopped, signal.SIGSTOP)
        calls.start_soon(call)
        await anyio.wait_all_tasks_blocked()  # the call is in the stopped child's pipe, as far as that takes it
        os.kill(stopped, signal.SIGKILL)
        await until(lambda: lengths == [2 * len(page)])


async def test_a_child_that_is_killed_while_it_starts_is_replaced(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    results: list[int] = []

    async def call() -> None:
        results.append(await pool.run(work.add, 1, 1))

    initializer = functools.partial(work.note_and_wait, str(started), str(gate))
    async with own_pool(1, crashes_allowed=1, initializer=initializer) as pool, anyio.create_task_group() as calls:
        calls.start_soon(call)
        await until(lambda: bool(lines(started)))
        os.kill(int(lines(started)[0]), signal.SIGKILL)
        gate.touch()
        await until(lambda: results == [2])


async def test_a_call_that_is_cancelled_while_its_child_starts_leaves_the_others_alone(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    initializer = functools.partial(work.note_and_wait, str(started), str(gate))
    async with own_pool(1, initializer=initializer) as pool:
        async with anyio.create_task_group() as calls:
            calls.start_soon(pool.run, work.note, str(tmp_path / "never"))
            await until(lambda: bool(lines(started)))
            calls.cancel_scope.cancel()
        gate.touch()
        assert await pool.run(work.add, 1, 1) == 2
        assert len(lines(started)) == 1
        assert not (tmp_path / "never").exists()


async def test_a_killed_idle_child_costs_nothing() -> None:
    async with own_pool(1) as pool:
        before = await pool.run(work.pid)
        os.kill(before, signal.SIGKILL)
        assert await pool.run(work.add, 1, 1) == 2
        assert await pool.run(work.pid) != before


# ----------------------------------------------------------------------------------------------------- the children


async def test_children_are_started_when_needed_and_no_more(tmp_path: Path) -> None:
    started, running, gate = tmp_path / "started", tmp_path / "running", tmp_path / "gate"
    initializer = functools.partial(work.start_well, str(started))
    async with own_pool(2, initializer=initializer) as pool:
        assert pids_of(pool) == []
        for _ in range(3):
            await pool.run(work.pid)
        assert len(lines(started)) == 1
        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(pool.run, work.note_and_wait, str(running), str(gate))
            await until(lambda: len(lines(running)) == 2)
            gate.touch()
        assert len(lines(started)) == 2
        assert sorted(pids_of(pool)) == sorted(int(pid) for pid in lines(started))


async def test_children_clean_up_after_their_start_and_after_each_call(tmp_path: Path) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    hooks = {
        "initializer": functools.partial(work.start_well, str(started)),
        "after_call": functools.partial(work.start_well, str(cleaned)),
    }
    async with own_pool(1, **hooks) as pool:
        pid = await pool.run(work.pid)
        assert lines(cleaned) == [str(pid)] * 2
        with pytest.raises(ValueError, match="no page"):
            await pool.run(work.fail, "plain")
        assert lines(cleaned) == [str(pid)] * 3


async def test_what_a_clean_up_raises_is_the_error_of_its_call(tmp_path: Path) -> None:
    hook = functools.partial(work.raise_later, str(tmp_path / "calls"))
    async with own_pool(1, after_call=hook) as pool:
        with pytest.raises(LookupError, match="not clean"):
            await pool.run(work.pid)


async def test_children_ignore_the_signals_of_the_process_group() -> None:
    async with own_pool(1) as pool:
        assert await pool.run(work.signal_self) == 0
        assert await pool.run(work.signal_self) == 0
        assert len(pids_of(pool)) == 1


async def test_children_print_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    async with own_pool(1) as pool:
        await pool.run(work.shout, "hello from a child")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hello from a child" in captured.err


async def test_children_do_not_run_the_parents_script(tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "manage.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(script))
    monkeypatch.setattr(main, "__spec__", None)
    async with own_pool(1) as pool:
        assert await pool.run(work.main_file) != str(script)
    assert not (tmp_path / "ran").exists()
    assert main.__spec__ is None


async def test_an_initializer_that_raises_is_told_and_not_tried_for_each_call(tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with own_pool(2, initializer=functools.partial(work.start_badly, str(started))) as pool:
        for _ in range(20):
            with pytest.raises(PoolStartFailed, match="LookupError: no settings") as caught:
                await pool.run(work.add, 1, 1)
        assert len(lines(started)) == 1
        assert isinstance(caught.value.__cause__, LookupError)
        assert "in start_badly" in str(caught.value.__cause__.__cause__)


async def test_children_that_die_while_they_start_are_given_up_after_some(tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with own_pool(2, initializer=functools.partial(work.start_deadly, str(started))) as pool:
        with pytest.raises(PoolStartFailed, match="ended with exit code 9 before it was ready"):
            await pool.run(work.add, 1, 1)
        assert len(lines(started)) == 5


async def test_a_pool_that_could_not_start_is_tried_again_after_a_while(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    async with own_pool(1, initializer=functools.partial(work.start_if, str(ready))) as pool:
        with pytest.raises(PoolStartFailed, match="not ready"):
            await pool.run(work.add, 1, 1)
        ready.touch()
        with anyio.fail_after(20):
            while True:
                try:
                    assert await pool.run(work.add, 1, 1) == 2
                    break
                except PoolStartFailed:  # at once: nothing is started for it
                    await anyio.sleep(0.05)


async def test_an_initializer_that_cannot_travel_is_told() -> None:
    async with own_pool(1, initializer=lambda: None) as pool:
        with pytest.raises(PoolStartFailed, match="lambda"):
            await pool.run(work.add, 1, 1)


# --------------------------------------------------------------------------------------------------------- the end


async def test_a_pool_that_is_killed_ends_its_calls(tmp_path: Path) -> None:
    running = tmp_path / "running"
    errors: list[BaseException] = []

    async def call() -> None:
        with pytest.raises(PoolClosed, match="killed") as caught:
            await pool.run(work.note_and_spin, str(running))
        errors.append(caught.value)

    async with own_pool(1) as pool:
        async with anyio.create_task_group() as calls:
            for _ in range(3):
                calls.start_soon(call)
            await until(lambda: bool(lines(running)))
            pool.kill()
        assert len(errors) == 3
        await until(lambda: gone(int(lines(running)[0])))


def what_is_open() -> tuple[int, int, int]:
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("process-pool")]
    return len(list(Path("/proc/self/fd").iterdir())), len(multiprocessing.active_children()), len(threads)


async def test_nothing_is_left_after_the_end() -> None:
    async def use() -> None:
        pool = ProcessPool(2)
        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(pool.run, work.pid)
        pool.kill()
        await anyio.to_thread.run_sync(pool.join, 10)

    await use()  # starts what multiprocessing and anyio keep for good
    before = what_is_open()
    await use()
    assert what_is_open() == before


async def test_a_killed_pool_takes_no_calls() -> None:
    pool = ProcessPool(1)
    pool.kill()
    with pytest.raises(PoolClosed, match="killed"):
        await pool.run(work.pid)


# ------------------------------------------------------------------------------------------------------ shared pool


@pytest.fixture
def no_shared_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "_shared", None)
    yield
    if processes._shared is not None:
        processes._shared.kill()
        processes._shared.join(10)


@pytest.mark.usefixtures("no_shared_pool")
def test_the_shared_pool_grows_with_its_shares_and_is_made_anew_after_its_end() -> None:
    first = shared_pool(1)
    assert shared_pool(3) is first
    first.share(3)
    first.share(2)
    assert first.size == 3
    first.kill()
    second = shared_pool(1)
    assert second is not first
    assert second.size == 1


@pytest.mark.usefixtures("no_shared_pool")
def test_the_shared_pool_has_one_initializer() -> None:
    shared_pool(1, Hooks(time.tzset))
    with pytest.raises(ValueError, match=r"has Hooks.initializer=.*tzset"):
        shared_pool(1)


@pytest.mark.usefixtures("no_shared_pool")
def test_loops_in_several_threads_share_the_pool() -> None:
    results: dict[int, list[int]] = {}

    async def calls(thread: int) -> None:
        pool = shared_pool(2)

        async def call(number: int) -> None:
            results[thread].append(await pool.run(work.add, number, thread * 1000))

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(call, number)

    def use(thread: int) -> None:
        results[thread] = []
        anyio.run(calls, thread, backend=("asyncio", "trio")[thread % 2])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {thread: sorted(found) for thread, found in results.items()} == {
        thread: [thread * 1000 + number for number in range(100)] for thread in range(4)
    }


@pytest.mark.usefixtures("no_shared_pool")
def test_a_loop_that_ended_with_calls_in_the_pool_harms_nobody(tmp_path: Path) -> None:
    running, gate = tmp_path / "running", tmp_path / "gate"

    async def leave() -> None:
        async with anyio.create_task_group() as calls:
            calls.start_soon(shared_pool(1).run, work.note_and_wait, str(running), str(gate))
            await until(lambda: bool(lines(running)))
            calls.cancel_scope.cancel()

    anyio.run(leave)
    gate.touch()
    assert anyio.run(shared_pool(1).run, work.add, 1, 1, backend="trio") == 2
