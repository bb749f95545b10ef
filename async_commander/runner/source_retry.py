"""Tries again what the whole run hangs on: as often, and after such waits, as an item would be tried."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.command.shapes import is_passing
from async_commander.downloads.pacing import retry_after

from .hook_lanes import Kind, calls_of
from .sources import closed_at_the_end, in_pieces
from .verdicts import kind_of, text_of

if TYPE_CHECKING:
    from .items import ItemPorts
    from .outages import Absence
    from .session import RunSession


class SourceRetry:
    """What a source is asked with. Not for items: the pipeline has its own."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self.absence: Absence | None = None
        """Of the database."""

    async def insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Await a call, again after errors that pass. Raises the last one, and any other at once."""
        for attempt in count(1):
            try:
                return await call()
            except Exception as error:  # noqa: BLE001 - judged there, and raised where it does not pass
                await self._rest(attempt, error)
        return None

    async def items(self, source: Any, opened: Callable[[], Awaitable[Any]], ports: ItemPorts) -> AsyncIterator[Any]:
        """The items of a source; the ports hear of each one, and of the end.

        After an error that passes it is begun anew; what is known already is passed over. Only a pass that gets further
        than all before it has its failures forgiven.
        """
        failures, furthest = 0, ports.place
        with calls_of(Kind.SOURCE):  # in the one task that reads them
            while True:
                try:
                    position = ports.place
                    async with closed_at_the_end(in_pieces(source, self._session.hooks)) as pieces:
                        async for piece in pieces:
                            for item in piece:
                                position += 1
                                if position > furthest:
                                    furthest, failures, self.absence = position, 0, None
                                if await ports.falls_to_us(item, position):
                                    yield ports.source_yielded(item, position)
                except Exception as error:  # noqa: BLE001 - judged there, and raised where it does not pass
                    failures += 1
                    await self._rest(failures, error)
                else:
                    break
                ports.source_restarted()
                source = await self.insist(opened)
        await self._session.commit_hook()
        ports.source_ended()

    async def _rest(self, attempt: int, error: Exception) -> None:
        session, retry = self._session, self._session.context.retry
        verdict = session.outages.verdict(self, error)
        again = verdict.kind == "retry" if verdict else is_passing(error) and retry.again(attempt)
        if session.context.stopping or not again:
            raise error
        delay = retry.delay(attempt, retry_after=retry_after(error))
        told = f"{kind_of(error)}: {text_of(error, session.redact)}"
        session.reporter.message(f"The source failed ({told}); it is asked again in {delay:.1f} s.", logging.WARNING)
        await anyio.sleep(delay)
