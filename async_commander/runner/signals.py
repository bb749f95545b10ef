"""Requests to stop a run, from signals, code or a run around it, in three stages: stop, cancel, leave at once."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any

from async_commander.results import EXIT_SIGNAL_BASE

HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_LEFT_ALONE = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
"""Stays ignored where it was at the start: that is what `nohup` asks for. A shell ignores SIGINT for all it starts with
`&`, which nobody asked for."""

SIGNALS_HEARD = 2
"""Signals that the run may answer; requests from elsewhere do not count among them."""


class StopRequests:
    """Counts requests to stop, from signals or from code, and passes them on.

    The first asks for an orderly stop, the second for a quick one; a third *signal* ends the process on the spot.
    Requests that come before anybody listens are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signal: int | None = None
        self._signals = 0
        self._listener: Callable[[int], None] | None = None
        self._listener_on_loop: Callable[[int], None] | None = None
        self._inner: set[StopRequests] = set()

    def listen(self, listener: Callable[[int], None] | None, on_loop: Callable[[int], None] | None = None) -> None:
        """Call `listener(count)` for each request from now on, and at once for those that came before.

        `on_loop` is called in its place for requests that a task of the run's event loop makes: those are met at once.
        """
        self._listener, self._listener_on_loop = listener, on_loop or listener
        if listener is not None and self.count:
            listener(self.count)

    def ask(self, *, on_loop: bool = False) -> None:
        """One more request; `on_loop`: by a task of the run's event loop, else from any thread or a signal handler."""
        self.ask_up_to(self.count + 1, on_loop=on_loop)

    def ask_up_to(self, count: int, *, on_loop: bool = False) -> None:
        """As many requests as are lacking to this number: 1 stops the run in order, 2 cancels what it has in hand."""
        if count <= self.count:
            return
        self.count = count
        if listener := self._listener_on_loop if on_loop else self._listener:
            listener(count)
        for inner in tuple(self._inner):
            inner.ask_up_to(count)

    @contextmanager
    def reaching(self, inner: StopRequests) -> Iterator[None]:
        """For the block what is asked of this run is asked of the inner one as well, what was asked before included."""
        self._inner.add(inner)
        inner.ask_up_to(self.count)
        try:
            yield
        finally:
            self._inner.discard(inner)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = self.signal or number
        self._signals += 1
        if self._signals > SIGNALS_HEARD:
            os._exit(EXIT_SIGNAL_BASE + number)
        self.ask()


class ServedRuns:
    """The runs of a server that handles SIGTERM itself: each hears it, too, before the server does.

    A server waits for its requests then, but cancels them only when its own patience ends, and dies at once after that.
    """

    def __init__(self) -> None:
        self._runs: set[StopRequests] = set()
        self._servers_own: Any = None

    @contextmanager
    def heard_by(self, stops: StopRequests) -> Iterator[None]:
        """For the block SIGTERM asks this run to stop, where somebody handles it and this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler) and handler != self._pass_on:
            self._servers_own = handler
            signal.signal(signal.SIGTERM, self._pass_on)
        self._runs.add(stops)
        try:
            yield
        finally:
            self._runs.discard(stops)
            if not self._runs and signal.getsignal(signal.SIGTERM) == self._pass_on:
                signal.signal(signal.SIGTERM, self._servers_own)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for stops in tuple(self._runs):
            stops.signal = stops.signal or number
            stops.ask()
        self._servers_own(number, frame)


served_runs = ServedRuns()


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is open, as a run that one of its hooks begins sees it."""

    stops: StopRequests
    alias: str
    row: int | None
    """The key of its row in the database of that alias, where it has one."""


open_run: ContextVar[OpenRun | None] = ContextVar("async_commander_open_run", default=None)
"""The run that the current code belongs to."""


class Stopped(SystemExit):
    """A signal ended a plain command, as it would have ended the process."""

    def __init__(self, number: int) -> None:
        super().__init__(EXIT_SIGNAL_BASE + number)
        self.number = number

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}"


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """For the block, a signal that nobody handles and that would end the process raises Stopped in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in HANDLED if signal.getsignal(number) == signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise Stopped(number)

    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is stop:
                signal.signal(number, signal.SIG_DFL)


def install() -> StopRequests:
    """Take over the stop signals for the rest of this process's life. Must precede everything else.

    They are never given back: a handler that ended with the run would leave a gap in which Ctrl-C tears the clean-up
    apart. Outside the main thread, where Python allows no handlers, the requests come from code only.
    """
    requests = StopRequests()
    if threading.current_thread() is threading.main_thread():
        for number in HANDLED:
            if number not in _LEFT_ALONE or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, requests._receive)  # noqa: SLF001 - the other half of this module
        atexit.register(_ignore_from_now_on)
    return requests


def _ignore_from_now_on() -> None:
    """The run has ended. Python is about to take its handlers away: a late signal would change the exit code."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
