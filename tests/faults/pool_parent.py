"""A script without a main guard, as an author may write it: a parent for the tests to kill.

Arguments: folder, what to do. Each start adds a line to the file `main` in the folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from async_commander.pool.child import Hooks
from async_commander.pool.processes import PoolClosed, ProcessPool, shared_pool
from tests.unit.pool import pool_work as work

folder, scene = Path(sys.argv[1]), sys.argv[2]
work.note(str(folder / "main"), str(os.getpid()))


async def keep_busy() -> None:
    """Two children at work, and two calls that wait."""
    pool = ProcessPool(2)
    async with anyio.create_task_group() as calls:
        for _ in range(4):
            calls.start_soon(pool.run, work.note_and_spin, str(folder / "running"))


async def keep_idle() -> None:
    """Children that wait for calls."""
    pool = ProcessPool(1)
    await pool.run(work.note, str(folder / "running"), "idle")
    await anyio.sleep_forever()


async def start_slowly() -> None:
    """A child that never gets ready."""
    initializer = partial(work.note_and_spin, str(folder / "running"))
    await ProcessPool(1, hooks=Hooks(initializer)).run(work.pid)


def live_on(pool: ProcessPool) -> None:
    """In the sibling, in a thread: tell what has become of the pool, and whether another one works."""
    refused, works = False, 0
    try:
        anyio.run(pool.run, work.pid)
    except PoolClosed:
        refused = True
    works = anyio.run(shared_pool(1).run, work.add, 1, 1)
    work.note(str(folder / "sibling"), f"{os.getpid()}:{refused}:{works}")
    time.sleep(60)


async def fork_meanwhile() -> None:
    """A sibling, forked by a server for instance, lives on and has inherited all that was open."""
    pool = shared_pool(1)
    await pool.run(work.pid)
    if os.fork() == 0:
        thread = threading.Thread(target=live_on, args=(pool,))
        thread.start()
        thread.join()
        os._exit(0)
    await pool.run(work.note_and_spin, str(folder / "running"))


async def stop_at_interrupt() -> None:
    """Ctrl-C reaches the whole process group; what is in hand is finished."""
    pool = ProcessPool(1)
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as calls:
            calls.start_soon(pool.run, work.note_and_wait, str(folder / "running"), str(folder / "gate"))
            async for _ in signals:
                break
            (folder / "gate").touch()
        pool.kill()
        await anyio.to_thread.run_sync(pool.join, 10)


async def just_end() -> None:
    """Neither ended nor waited for: the exit ends the children."""
    pool = ProcessPool(2)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as calls:
            calls.start_soon(pool.run, work.note_and_spin, str(folder / "running"))
            while not (folder / "running").exists():
                await anyio.sleep(0.01)
            scope.cancel()


anyio.run(globals()[scene])
