"""What functions do to their process costs nobody else anything."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from async_commander.pool.child import Hooks
from async_commander.pool.payload import RemoteError, UnpicklablePayload
from async_commander.pool.processes import ChildCrashed, PoolClosed, ProcessPool
from tests.unit.pool import mischief
from tests.unit.pool import pool_work as work
from tests.unit.pool.own_pools import own_pool, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pids(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "left"
    yield path
    for pid in pids(path):
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


async def test_a_function_that_forks_and_comes_back_twice_answers_once() -> None:
    async with own_pool(1) as pool:
        child = await pool.run(work.pid)
        assert [await pool.run(mischief.fork_and_return, text) for text in "abc"] == ["a", "b", "c"]
        with pytest.raises(ValueError, match="both"):
            await pool.run(mischief.fork_and_raise)
        assert await pool.run(work.pid) == child


@pytest.mark.parametrize("own_session", [True, False])
async def test_a_death_is_noticed_though_a_forked_process_lives_on(own_session: bool, left_behind: Path) -> None:
    async with own_pool(1) as pool:
        with anyio.fail_after(30), pytest.raises(ChildCrashed, match="3 times, at last it was killed by SIGKILL"):
            await pool.run(functools.partial(mischief.fork_and_die, own_session=own_session), str(left_behind))
        assert len(pids(left_behind)) == 3
        if not own_session:  # it belongs to the child's process group
            await until(lambda: all(gone(pid) for pid in pids(left_behind)))
        assert await pool.run(work.add, 1, 1) == 2


async def test_what_a_function_started_ends_with_its_process(left_behind: Path) -> None:
    async with own_pool(1) as pool:
        async with anyio.create_task_group() as calls:
            calls.start_soon(pool.run, mischief.start_helper_and_spin, str(left_behind))
            await until(lambda: bool(pids(left_behind)))
            calls.cancel_scope.cancel()
        await until(lambda: gone(pids(left_behind)[0]))


async def test_nonsense_in_the_pipe_costs_the_call_that_wrote_it() -> None:
    async with own_pool(1) as pool:
        with pytest.raises(ChildCrashed, match="3 times, at last it wrote to the pipe"):
            await pool.run(mischief.write_to_the_pipe)
        assert await pool.run(work.add, 1, 1) == 2


async def test_a_function_that_closes_all_files_is_given_up_and_its_files_stay_its_own(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        with pytest.raises(ChildCrashed, match="closed the pipe to its parent"):
            await pool.run(mischief.close_all, str(tmp_path / "file"))
        assert {path.stat().st_size for path in tmp_path.iterdir()} == {0}
        assert await pool.run(work.add, 1, 1) == 2


async def test_a_function_may_close_the_standard_files() -> None:
    async with own_pool(1) as pool:
        assert await pool.run(mischief.close_standard_files) == "closed"
        assert await pool.run(work.add, 1, 1) == 2


async def test_threads_that_never_end_keep_no_process_alive() -> None:
    async with own_pool(1) as pool:
        child = await pool.run(mischief.leave_a_thread)
        assert await pool.run(work.pid) == child
    assert gone(child)


async def test_alarms_and_handlers_of_one_call_do_not_meet_the_next() -> None:
    async with own_pool(1) as pool:
        child = await pool.run(mischief.leave_alarms_and_handlers)
        assert await pool.run(mischief.sleep_and_signal_self) == child


async def test_folder_and_context_of_one_call_do_not_meet_the_next(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        before = await pool.run(mischief.folder)
        assert await pool.run(mischief.change_folder, str(tmp_path)) == str(tmp_path)
        assert await pool.run(mischief.folder) == before
        assert [await pool.run(mischief.enter_tenant) for _ in range(2)] == ["nobody", "nobody"]


async def test_nothing_that_runs_there_writes_to_the_parents_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    async with own_pool(1) as pool:
        await pool.run(mischief.print_everywhere)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert [text in captured.err for text in ("by print", "by number", "by echo")] == [True] * 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
async def test_a_function_may_use_multiprocessing(method: str) -> None:
    async with own_pool(1) as pool:
        assert await pool.run(mischief.use_multiprocessing, method) == [0, 1, 4, 9]


async def test_a_function_may_terminate_what_it_started() -> None:
    async with own_pool(1) as pool:
        assert await pool.run(mischief.terminate_a_program) == -signal.SIGTERM


async def test_a_child_killed_in_the_middle_of_a_large_answer_is_replaced(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        assert len(await pool.run(mischief.large_answer_once_killed, str(tmp_path / "once"))) == 64 << 20  # type: ignore[arg-type]


async def test_what_ends_whoever_loads_it_is_an_error_of_its_call() -> None:
    async with own_pool(1) as pool:
        with pytest.raises(UnpicklablePayload, match=r"could not be loaded here \(SystemExit: over there"):
            await pool.run(mischief.end_the_reader)
        with pytest.raises(RemoteError, match="stop_iteration raised StopIteration: no more"):
            await pool.run(mischief.stop_iteration)


async def test_a_pool_that_is_killed_while_it_starts_leaves_nobody(left_behind: Path) -> None:
    pool = ProcessPool(1, hooks=Hooks(functools.partial(work.note_and_spin, str(left_behind))))

    async def call() -> None:
        with pytest.raises(PoolClosed):
            await pool.run(work.pid)

    async with anyio.create_task_group() as calls:
        calls.start_soon(call)
        await until(lambda: bool(pids(left_behind)))
        pool.kill()
    await anyio.to_thread.run_sync(pool.join, 10)
    assert gone(pids(left_behind)[0])


async def test_each_share_has_no_more_processes_than_it_asked_for(tmp_path: Path) -> None:
    async with own_pool(1) as pool:
        crowds: dict[int, list[int]] = {1: [], 3: []}
        shares = {size: pool.share(size) for size in crowds}

        async def call(size: int) -> None:
            crowds[size].append(await shares[size].run(mischief.crowd, str(tmp_path / str(size))))

        async with anyio.create_task_group() as calls:
            for size in crowds:
                (tmp_path / str(size)).mkdir()
                for _ in range(20):
                    calls.start_soon(call, size)
        assert max(crowds[1]) == 1
        assert 1 < max(crowds[3]) <= 3


async def test_a_share_does_not_wait_for_all_calls_of_another(tmp_path: Path) -> None:
    order: list[str] = []
    async with own_pool(1) as pool, anyio.create_task_group() as calls:
        first, second = pool.share(1), pool.share(1)
        running, gate = tmp_path / "running", tmp_path / "gate"
        calls.start_soon(first.run, work.note_and_wait, str(running), str(gate))
        await until(lambda: bool(pids(running)))

        async def call(share: Any, text: str) -> None:
            order.append(await share.run(work.echo, text))

        for number in range(5):
            calls.start_soon(call, first, str(number))
        await anyio.wait_all_tasks_blocked()
        calls.start_soon(call, second, "other")
        await anyio.wait_all_tasks_blocked()
        gate.touch()
    assert order.index("other") <= 1


def in_a_daemon(results: Any) -> None:
    pool = ProcessPool(1)
    results.put(anyio.run(pool.run, work.add, 1, 1))
    pool.kill()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_process_may_have_a_pool(method: str) -> None:
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=in_a_daemon, args=(results,), daemon=True)
    process.start()
    assert results.get(timeout=60) == 2
    process.join(10)
    assert process.exitcode == 0
