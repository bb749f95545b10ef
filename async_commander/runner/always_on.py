"""A command that is always on: `lifespan()`, `iterate()`, `handle()` begin again until the run is asked to stop.

ended without an error        ─▶ again, after a short pause
an error that passes          ─▶ again, after pauses that grow: a broker that is away is waited for
any other error               ─▶ again, until there were too many in too short a time: RestartsSpent
what no restart could mend    ─▶ raised: a wrong command, a missing table, a run that is somebody else's
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.command.shapes import ItemCommand, is_passing
from async_commander.downloads.pacing import retry_after
from async_commander.engine.leaving import CancelIgnored
from async_commander.engine.restarts import INTENSITY, PERIOD, Restarts
from async_commander.exceptions import RestartsSpent

from .hook_lanes import Kind, calls_of
from .sources import closed_at_the_end, in_pieces
from .verdicts import judge, kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .items import ItemPorts
    from .outages import Absence
    from .session import RunSession


LEFT_AFTER = 0.5
"""Seconds after which a plain generator that waits for the next message is left, once the run is to end."""


class AlwaysOn:
    """Says whether the part that `hook` names begins again, and when."""

    def __init__(self, session: RunSession, hook: str) -> None:
        self._session = session
        self._hook = hook
        self._restarts = Restarts()
        self.absence: Absence | None = None
        """Of the database."""

    async def items(self, opened: Callable[[], Awaitable[Any]], ports: ItemPorts) -> AsyncIterator[Any]:
        """The items of a source without an end. `opened` connects, and calls `iterate`."""
        again, position = True, 0
        with calls_of(Kind.SOURCE):  # in the one task that reads them
            while again:
                failure: Exception | None = None
                try:
                    source = in_pieces(await opened(), self._session.hooks, patience=LEFT_AFTER)
                    async with closed_at_the_end(source) as pieces:
                        async for piece in pieces:
                            self._restarts.thrives()
                            self.absence = None
                            for item in piece:
                                position += 1
                                yield ports.source_yielded(item, position)
                    await self._session.commit_hook()
                except Exception as error:  # noqa: BLE001 - judged there, and raised where nothing helps
                    self._session.drop_hook()
                    failure = error
                ports.source_restarted()
                again = await self.again(failure)
        ports.source_ended()

    async def calls(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call again and again; what the last call returned."""
        while True:
            value, failure = None, None
            try:
                value = await call()
                await self._session.commit_hook()
            except Exception as error:  # noqa: BLE001 - likewise
                self._session.drop_hook()
                failure = error
            if not await self.again(failure):
                return value

    async def again(self, failure: Exception | None) -> bool:
        """Wait for the moment to begin again; False where the run is asked to stop. Raises what no restart mends."""
        context = self._session.context
        if context.stopping:
            if isinstance(failure, CancelIgnored):  # it waits on its thread for the next message
                self._session.lanes.hurry.leave_soon()
            elif failure is not None:
                self._session.log_failure(f"{self._hook}() failed while the run was being stopped", failure)
            return False
        if failure is not None:
            self._judge(failure)
        asked = retry_after(failure) if failure is not None else None
        delay = max(self._restarts.pause(anyio.current_time()), context.retry.asked(asked))
        if failure is not None:
            told = f"{kind_of(failure)}: {text_of(failure, self._session.redact)}"
            text = f"{self._hook}() failed ({told}); it begins again in {delay:.1f} s."
            self._session.reporter.message(text, logging.WARNING)
        with anyio.move_on_after(delay):
            await context.stop_asked.wait()
        await context.gate.passed()
        return not context.stopping

    def _passes(self, failure: Exception) -> bool:
        """A command that hands out items has a hook for that: each broker's client has errors of its own."""
        if isinstance(self._session.command, ItemCommand):
            return bool(self._session.hooks.decide("should_retry", failure))
        return is_passing(failure)

    def _judge(self, failure: Exception) -> None:
        session, text = self._session, text_of(failure, self._session.redact)
        session.figures.failed(f"{kind_of(failure)} in {self._hook}()", text, "")
        verdict = session.outages.verdict(self, failure) or judge(failure, lambda: self._passes(failure))
        if verdict.kind == "fatal":
            raise failure
        if verdict.kind != "retry" and self._restarts.spent(anyio.current_time()):
            raise RestartsSpent(
                f"{self._hook}() failed more than {INTENSITY} times within {PERIOD:g} s; the last time by "
                f"{kind_of(failure)}: {text}"
            ) from failure
