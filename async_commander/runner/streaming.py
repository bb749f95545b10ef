"""A run as a stream of events, for who began it: leaving the stream stops the run."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import sync_to_async

from async_commander.engine.undisturbed import ended
from async_commander.events import LogLine, Place, Progress, RunFinished, RunStarted
from async_commander.exceptions import AsyncCommanderError, RunLocked
from async_commander.history.events import event_of_line
from async_commander.text.values import kept_value

from .entry import begun, detached, heard, planned
from .mailbox import Mailbox
from .reporting import Silent
from .signals import StopRequests
from .watching import watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from async_commander.engine.context import RunContext
    from async_commander.events import RunEvent
    from async_commander.history import recorder as history

    from .entry import Runnable

PROGRESS_SECONDS = 0.1


async def stream(
    command: Runnable, arguments: dict[str, Any], *, recorder: history.Recorder | None
) -> AsyncGenerator[RunEvent]:
    """See `doors.astream`."""
    plan = await planned(command, arguments, recorder=recorder)
    if plan.request.detach:
        handle = await sync_to_async(detached("sent"))(plan, None)
        if not handle.is_committed:
            raise AsyncCommanderError(
                f"Run {handle.run_id} belongs to a transaction that is still open here: no worker sees it before "
                "COMMIT. Watch it outside of the transaction."
            )
        opening, place = plan.opening, str(Place(handle.run_id))
        yield RunStarted(
            run_id=handle.run_id,
            id=place,
            command=opening.command,
            parameters=opening.parameters,
            dry_run=opening.dry_run,
            testing=opening.testing,
        )
        async with aclosing(watch(handle.run_id, after=place, using=handle.database)) as events:
            async for told in events:
                yield told
        return
    mailbox, stops = Mailbox(), StopRequests()
    reporter = EventReporter(mailbox)
    with heard(stops):
        run = begun(plan, reporter, stops)
        run.add_done_callback(lambda _: mailbox.close())
        try:
            while (event := await mailbox.get()) is not None:
                yield event
            result = run.result()
            if result.locked:
                raise RunLocked(result.error)
            value, _ = kept_value(result.value, plan.redact)
            yield RunFinished(run_id=result.run_id, id=str(reporter.place or ""), result=result, value=value)
        finally:
            if not run.done():
                stops.ask(on_loop=True)
            await ended(run, partial(stops.ask, on_loop=True), asked=True)


class EventReporter(Silent):
    """A Reporter that puts what it hears into a mailbox. Lines come when they are stored: they have their number."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._context: RunContext | None = None
        self._stage = ""
        self.place: Place | None = None
        """Up to which the events are told."""

    def started(self, context: RunContext) -> None:
        """See Reporter."""
        self._context, self.place = context, Place(context.run_id)
        self._mailbox.put(
            RunStarted(
                run_id=context.run_id,
                id=str(self.place),
                command=context.command,
                parameters=context.parameters,
                dry_run=context.dry_run,
                testing=context.testing,
            )
        )

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter. The log of a run that is open brings it along."""
        super().message(text, level)
        if self._context is None:
            self._mailbox.put(LogLine(run_id=None, id="", level=level, logger=self.logger.name, message=text))

    def logged(self, lines: Sequence[history.LogLine]) -> None:
        """See Reporter."""
        assert self.place is not None  # noqa: S101 - a log belongs to a run
        for line in lines:
            self.place = Place(self.place.run_id, line.number or self.place.line)
            self._mailbox.put(event_of_line(self.place.run_id, line, self.place.line))

    def stage(self, text: str) -> None:
        """See Reporter."""
        self._stage = text

    async def watch(self) -> None:
        """See Reporter."""
        while True:
            self._tell_progress()
            await anyio.sleep(PROGRESS_SECONDS)

    def finished(self, result: object) -> None:
        """See Reporter."""
        del result
        self._tell_progress()

    def _tell_progress(self) -> None:
        if (context := self._context) is None:
            return
        seconds = asyncio.get_running_loop().time() - context.started
        counts: dict[str, Any] = context.tally.as_counts()
        self._mailbox.put(
            Progress(
                run_id=context.run_id,
                id=str(self.place),
                total=context.tally.total,
                seconds=seconds,
                stage=self._stage,
                **counts,
            )
        )
