"""The processes of this machine that carry the shards of one run: begun, asked to end, and watched.

Each is a process of `multiprocessing`, by spawn. Through its pipe it hears how it is to end, by the number of requests
so far, and says what a person at the terminal should see; that a pipe closes tells either side that the other is gone.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Self

import anyio
from django.db import connections
from django.utils.module_loading import import_string

from async_commander.command.declaration import declaration_of
from async_commander.history.recorder import OF_THE_WHOLE
from async_commander.pool.child import SIGNALS
from async_commander.pool.payload import dump_call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from async_commander.models import Run
    from async_commander.results import Tally

    from .session import RunSession

CARRIER = "async_commander.runner.shard_process.main"
"""What runs there; it imports nothing of Django's before that is set up."""
NOW = ("in_flight", "waiting", "paused_hosts")
"""Figures of a tally that no row has, and that are over when the process is."""
LAST_GRACE = 5.0
"""Seconds that a process may take to be gone, once its shard has ended or its run is lost."""


class ShardProcesses:
    """An async context manager, at whose end no process is left."""

    outlive_the_run = False

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, SpawnProcess] = {}
        """By the shard that each carries, or carried last."""
        self._pipes: dict[int, Connection] = {}
        self._alive: dict[int, dict[str, int]] = {}
        self._refusals: dict[int, str] = {}
        self._asked = 0
        self._running: set[int] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nobody is left to carry a shard, or the run is lost."""
        self.ask(2)
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_GRACE if self._running else 0):
            while self.at_work:  # noqa: ASYNC110 - of other processes
                await anyio.sleep(0.05)
        for process in self._processes.values():
            if process.is_alive():
                process.kill()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(process.join)
        for pipe in self._pipes.values():
            pipe.close()

    @property
    def at_work(self) -> bool:
        """Whether a process is left that carries a shard."""
        return any(self._is_alive(index) for index in self._running)

    def carries(self, row: Run) -> bool:
        """Whether a process carries this shard."""
        return row.shard is not None and self._is_alive(row.shard)

    def _is_alive(self, index: int) -> bool:
        process = self._processes.get(index)
        return process is not None and process.is_alive()

    def some_ended(self) -> bool:
        """Whether there is one, since this was asked last, that carries its shard no more, or none yet."""
        ended = {index for index in self._running if not self._is_alive(index)}
        self._running -= ended
        return bool(ended)

    def end_of(self, row: Run) -> str:
        """How the last process of a shard ended, as the end of a sentence; empty where there was none."""
        index: int = row.shard  # type: ignore[assignment]  # a shard's row
        if index in self._refusals:
            return f": {self._refusals[index]}"
        process = self._processes.get(index)
        code = None if process is None else process.exitcode
        if code is None:
            return ""
        known = {int(one): one.name for one in signal.Signals}
        return f" (killed by {known.get(-code, f'signal {-code}')})" if code < 0 else f" (exit code {code})"

    async def begin(self, row: Run) -> None:
        """Start a process for a shard."""
        index: int = row.shard  # type: ignore[assignment]  # a shard's row
        if (old := self._pipes.pop(index, None)) is not None:
            old.close()
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=import_string(CARRIER), args=(self._job(row), theirs), name=f"shard {index} of run {row.parent_id}"
        )
        # It is born with the signals blocked, until it has handlers for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._processes[index], self._pipes[index] = process, ours
        self._running.add(index)
        threading.Thread(target=self._listen, args=(index, ours), name=process.name, daemon=True).start()
        if self._asked:
            self._send(ours)

    def ask(self, count: int) -> None:
        """Have all shards end: in order, or at once from the second request on."""
        self._asked = max(self._asked, count)
        for index, pipe in self._pipes.items():
            if self._is_alive(index):
                self._send(pipe)

    async def attend(self, rows: Sequence[Run]) -> None:
        """See QueuedShards: whoever ends here is seen to."""

    def tell(self, tally: Tally) -> None:
        """Put figures that no row has into the tally of the run."""
        tally.retried = sum(one["retried"] for one in self._alive.values())
        for name in NOW:
            setattr(tally, name, sum(one[name] for index, one in self._alive.items() if self._is_alive(index)))

    def _send(self, pipe: Connection) -> None:
        with suppress(OSError):  # it is gone: that is seen elsewhere
            pipe.send(self._asked)

    def _job(self, row: Run) -> bytes:
        """What the process is to do, to be read once Django is set up there."""
        session = self._session
        command, request = session.command, session.request
        asked = replace(
            request, resume=False, resume_run=None, retry_failed=None, only_kind=None, again=None, queued=None,
            distribute=None, shards=None, stdout=None, stderr=None, request=None, run_dependencies=False,
            database=session.lanes.alias, trigger="shard", wait=True, detach=False,
            limits=session.context.limits.replace(**dict.fromkeys(OF_THE_WHOLE)),
        )  # fmt: skip
        declared, own = declaration_of(type(command)), {**command.options, **command.parameters}
        arguments = {name: own[name] for name in (*declared.arguments, *declared.extra)}
        databases = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
        return dump_call(type(command), (arguments, asked, row.pk, databases))

    # -- what it says ------------------------------------------------------------------------------------------

    def _listen(self, index: int, pipe: Connection) -> None:
        """On a thread of its own, until the process is gone."""
        with suppress(EOFError, OSError, RuntimeError):  # the last one: the loop is closed
            while True:
                kind, values = pipe.recv()
                self._loop.call_soon_threadsafe(partial(self._hear, index, kind, values))

    def _hear(self, index: int, kind: str, values: Any) -> None:
        session = self._session
        if kind == "alive":
            self._alive[index] = values
        elif kind == "message":
            text, level = values
            session.reporter.message(f"Shard {index}: {text}", level)
        elif kind == "logged":
            session.reporter.logged(values)
        elif kind == "item_failed":
            session.reporter.item_failed(*values)
        elif kind == "refused":
            self._refusals[index] = values
            session.reporter.message(f"Shard {index}: {values}", logging.ERROR)
        else:
            stream = session.stdout if kind == "stdout" else session.stderr
            stream.write(values, str, ending="")
