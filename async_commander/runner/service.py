"""What a service manager hears of a run, where one has started this process: systemd's sd_notify(3), and no library.

READY       the run is open, and its lease is ours
WATCHDOG    the event loop turned, and the database answered, within the last half of WATCHDOG_USEC
STOPPING    it was asked to stop; until it has, the manager is asked for more time, so that items in hand are finished
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import anyio

if TYPE_CHECKING:
    from async_commander.engine.context import RunContext

logger = logging.getLogger("async_commander.run")

MICROSECONDS = 1_000_000
STATUS_SECONDS = 5.0
"""So often the counts are sent, and more time is asked for, where there is no watchdog that wants it more often."""


class ServiceManager:
    """One end of the manager's socket. What cannot be sent is lost: a run does not depend on who watches it."""

    def __init__(self, address: str, watchdog: float | None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog
        """Seconds without a sign after which the manager takes the process for dead."""

    @classmethod
    def of_process(cls, environment: Mapping[str, str] | None = None) -> Self | None:
        """The one that started this process and listens; None where there is none."""
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        microseconds, pid = given.get("WATCHDOG_USEC", ""), given.get("WATCHDOG_PID", "")
        is_ours = microseconds.isdecimal() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(microseconds) / MICROSECONDS if is_ours else None)

    def tell(self, **state: object) -> None:
        """Send some of `READY=1`, `STATUS="…"`."""
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            logger.debug("The service manager at %r was not told %r: %s", self._address, text, error)

    async def attend(
        self, contexts: Collection[RunContext], stop_asked: anyio.Event, ask: Callable[[], Awaitable[object]]
    ) -> None:
        """Report the runs that are open, until cancelled. `ask` puts a question to the database. A task beside them."""
        every = STATUS_SECONDS if self._watchdog is None else self._watchdog / 2
        self.tell(READY=1, STATUS=_counts(contexts))
        while not stop_asked.is_set():
            with anyio.move_on_after(every / 2):
                await stop_asked.wait()
            await self._look(contexts, ask, every / 2)
        self.tell(STOPPING=1, STATUS=f"stopping: {_counts(contexts)}", EXTEND_TIMEOUT_USEC=_extended(every))
        while True:
            await anyio.sleep(every / 2)
            self.tell(EXTEND_TIMEOUT_USEC=_extended(every))
            await self._look(contexts, ask, every / 2)

    async def _look(
        self, contexts: Collection[RunContext], ask: Callable[[], Awaitable[object]], longest: float
    ) -> None:
        """Let the manager know that we live, if the database says so, too, within so many seconds."""
        answered = self._watchdog is None
        with anyio.move_on_after(longest), suppress(Exception):  # an error of the record is the run's to tell
            if not answered:
                await ask()
                answered = True
        if answered:
            self.tell(**({} if self._watchdog is None else {"WATCHDOG": 1}), STATUS=_counts(contexts))


def _extended(seconds: float) -> int:
    """Time for the next look, twice."""
    return int(2 * seconds * MICROSECONDS)


def _counts(contexts: Collection[RunContext]) -> str:
    found = ((one.command, one.tally) for one in contexts)
    told = (f"{name}: done {tally.done:,}, dead {tally.dead:,}, in hand {tally.in_flight:,}" for name, tally in found)
    return "; ".join(told) or "no run is open"
