"""What runs in a process that carries one shard of a run."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO, cast

from async_commander.pool.child import SIGNALS
from async_commander.pool.payload import load

from .signals import StopRequests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from async_commander.engine.context import RunContext
    from async_commander.history.recorder import LogLine
    from async_commander.results import RunResult


TOLD_EVERY = 0.5
"""Seconds between two reports of the figures that no row has."""


def main(pickled: bytes, pipe: Connection) -> None:
    """Carry the shard. Its row says how it ended; exit code 1 where there is none that could."""
    stops = StopRequests()
    for number in SIGNALS:  # they reach the parent as well, which says what is to be done
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stops.ask_up_to(1))  # which may be for us
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_hear_parent, args=(stops, pipe), name="the run's own process", daemon=True).start()

    import django
    import django.db

    django.setup()
    try:
        from .entry import drive_shard

        cls, (own, request, row, databases) = load(pickled)
        connections = django.db.connections
        for alias, used in databases.items():  # they are called so by now: in a test as nowhere else
            if str(connections[alias].settings_dict["NAME"]) != used:
                connections[alias].settings_dict["NAME"] = connections.settings[alias]["NAME"] = used
        out, err = cast("TextIO", _Piped("stdout", pipe)), cast("TextIO", _Piped("stderr", pipe))
        drive_shard(cls(**own), replace(request, stdout=out, stderr=err), row, PipeReporter(pipe), stops)
        connections.close_all()
    except Exception as error:
        with suppress(OSError):
            pipe.send(("refused", f"{type(error).__name__}: {error}"))
        logging.getLogger("async_commander.run").exception("A shard could not be carried")
        sys.exit(1)


def _hear_parent(stops: StopRequests, pipe: Connection) -> None:
    """On a thread of its own: pass on how many requests there were. Without a parent the shard ends in order."""
    with suppress(EOFError, OSError):
        while True:
            stops.ask_up_to(pipe.recv())
    stops.ask_up_to(1)


class _Piped(io.TextIOBase):
    """A stream whose text the parent writes."""

    def __init__(self, kind: str, pipe: Connection) -> None:
        self._kind = kind
        self._pipe = pipe

    def write(self, text: str) -> int:
        """Send it; without a parent nobody reads it, and it is in the row all the same."""
        with suppress(OSError):
            self._pipe.send((self._kind, text))
        return len(text)


class PipeReporter:
    """A Reporter whose parent shows what is to be shown, beside that of the other shards."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._context: RunContext | None = None

    def started(self, context: RunContext) -> None:
        """See Reporter."""
        self._context = context

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter."""
        self._send("message", (text, level))

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """See Reporter."""
        if self._context is not None and self._context.verbosity >= 2:
            self._send("item_failed", (label, kind, text, final))

    def logged(self, lines: Sequence[LogLine]) -> None:
        """See Reporter."""
        self._send("logged", lines)

    def stage(self, text: str) -> None:
        """See Reporter: the parent tells its own."""

    def asks(self, text: str) -> None:
        """See Reporter: nobody is asked here."""

    def finished(self, result: RunResult) -> None:
        """See Reporter: the shard's row says it."""

    async def watch(self) -> None:
        """See Reporter."""
        import anyio

        while self._context is not None:
            tally = self._context.tally
            figures = {name: getattr(tally, name) for name in ("in_flight", "waiting", "paused_hosts", "retried")}
            self._send("alive", figures)
            await anyio.sleep(TOLD_EVERY)

    def _send(self, kind: str, values: Any) -> None:
        with suppress(OSError):
            self._pipe.send((kind, values))
