"""Steps of `handle()`: what one writes and what it comes to are kept together, and are there for a resume.

A step is to a plain command what an item is to the others: a unit of work on a lane of its own, and a row in the ledger
that commits with it. No source yields it, so nothing is claimed: a step without a row was not done.
"""

from __future__ import annotations

import inspect
import logging
import time
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio

from async_commander.command.hooks import HookKind
from async_commander.command.identity import LABEL_LENGTH, canonical_json, item_label, key_uuid
from async_commander.command.items import text_to_keep, value_kept
from async_commander.database.lent_lane import settle
from async_commander.database.unit import Savepoint, Unit
from async_commander.exceptions import InvalidCommand
from async_commander.history.recorder import STEP
from async_commander.results import ItemOutcome, ItemState
from async_commander.text.errors import readable

from .in_hand import ItemTicket, holding, in_hand, steps_open, undone
from .verdicts import kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .session import RunSession

LARGEST = 1 << 20
"""Characters of JSON that a result may have."""


class Steps:
    """The steps of one `handle()`, while it is at work. `leave` ends it."""

    def __init__(self, session: RunSession, *, resumed: bool, leave: Callable[[], None]) -> None:
        self._session = session
        self._context = session.context
        self._leave = leave
        self._resumed = resumed
        self._done: set[UUID] = set()
        """What this process has kept."""
        self._under_way: dict[UUID, anyio.Event] = {}
        self._ended: dict[Unit, Future[None]] = {}
        self._held_back = 0
        self._rehearsed: dict[UUID, str] = {}
        """What steps of a dry run came to, which is kept nowhere else."""
        self._one_at_a_time = anyio.Lock()

    @classmethod
    @contextmanager
    def of(cls, session: RunSession, *, resumed: bool, leave: Callable[[], None]) -> Iterator[Steps]:
        """For the time of `handle()`."""
        steps = session.steps = cls(session, resumed=resumed, leave=leave)
        session.recorder.begin_steps(steps)
        token = steps_open.set(steps)
        try:
            yield steps
        finally:
            steps_open.reset(token)
            session.steps = None

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """What the step came to: kept from before, or done now. Who asks for one that is under way waits for it."""
        ticket = self._ticket(name, function, args)
        while (other := self._under_way.get(ticket.uuid)) is not None:
            await other.wait()
        self._under_way[ticket.uuid] = anyio.Event()
        try:
            if (self._resumed or ticket.uuid in self._done) and (text := await self._kept(ticket.uuid)) is not None:
                return value_kept(text)
            await self._context.gate.passed()
            if self._context.stopping:
                await self._hold_back()
            return value_kept(await self._insist(ticket, name, function, args))
        finally:
            self._under_way.pop(ticket.uuid).set()

    def _ticket(self, name: str, function: object, args: Sequence[Any]) -> ItemTicket:
        if self._session.hooks.kind("handle") is not HookKind.ASYNC:
            raise InvalidCommand("self.step() is awaited: write `async def handle(self)`. Its functions may be plain.")
        if not isinstance(name, str) or not name.strip():
            raise InvalidCommand(f"self.step({name!r:.80}, …): a step needs a name, a text that is not empty.")
        if not callable(function):
            if inspect.iscoroutine(function):
                function.close()
            raise InvalidCommand(
                f"self.step({name!r}, {type(function).__name__}): give a function and its arguments, and do not call "
                f"it: await self.step({name!r}, function, *args)."
            )
        if (around := in_hand.get()) is not None:
            raise InvalidCommand(
                f"self.step({name!r}) in the step {around.label}: they would be one transaction, so that neither "
                "could be kept without the other. Call the function itself, or make the steps one after another."
            )
        try:
            key = canonical_json([name, list(args)])
        except (TypeError, ValueError) as error:
            raise InvalidCommand(
                f"The arguments of self.step({name!r}) do not say which step it is: {error}. Give what does (a number, "
                "a text, a date, a row), and let the function open what it works with."
            ) from None
        redact = self._session.redact
        given = ", ".join(item_label(one, redact) for one in args)
        label = redact.line(f"{name}({given})" if args else name, LABEL_LENGTH)
        # Other systems shall know it again after a resume, and not take the one of another run for it.
        whole = f"run:{self._context.run_id}:step:{key}"
        return ItemTicket(args, whole, uuid=key_uuid(f"step:{key}"), label=label, admitted=time.monotonic())

    async def _kept(self, key: UUID) -> str | None:
        if key in self._rehearsed:
            return self._rehearsed[key]
        found = await self._session.recorder.kept(key)
        if found is None:
            return None
        if key not in self._done:
            self._done.add(key)
            self._context.steps_kept += 1
        text: str = found.item
        return text

    async def _hold_back(self) -> None:
        """The run is to stop, and begins no step any more: what is in hand is finished, then `handle()` ends here."""
        self._held_back += 1
        try:
            self._leave_if_idle()
            await anyio.sleep_forever()
        finally:
            self._held_back -= 1

    def _leave_if_idle(self) -> None:
        if self._held_back and not self._context.steps_in_hand:
            self._leave()

    async def _insist(self, ticket: ItemTicket, name: str, function: Callable[..., Any], args: Sequence[Any]) -> str:
        """Do it, again as long as the database is away: nothing was kept then, and it is not the step's fault."""
        session, tally = self._session, self._context.tally
        self._context.steps_in_hand.append(ticket.label)
        tally.in_flight += 1
        try:
            for attempt in count(1):
                try:
                    return await self._do(ticket, name, function, args)
                except Exception as error:
                    verdict = session.outages.verdict(ticket, error)
                    if self._context.stopping or verdict is None or verdict.kind != "retry":
                        raise
                    delay = self._context.retry.delay(attempt)
                    told = f"{kind_of(error)}: {text_of(error, session.redact)}"
                    text = f"The step {ticket.label} failed ({told}); it is done again in {delay:.1f} s."
                    session.reporter.message(text, logging.WARNING)
                await anyio.sleep(delay)
        finally:
            tally.in_flight -= 1
            self._context.steps_in_hand.remove(ticket.label)
            self._leave_if_idle()
        raise AssertionError("the attempts have no end")

    async def _do(self, ticket: ItemTicket, name: str, function: Callable[..., Any], args: Sequence[Any]) -> str:
        """One attempt: on return all that it wrote is committed with its result, as a text."""
        session = self._session
        if session.lanes.rehearsal is not None:
            return await self._rehearse(ticket, name, function, args)
        unit = Unit(session.lanes.alias, lanes=session.lanes, ticket=ticket)
        began, started, failed = time.monotonic(), datetime.now(UTC), True
        try:
            with holding(ticket, unit):
                async with session.hooks.observers.around(STEP, ticket.label):
                    text = self._fit(name, await session.hooks.call_for("handle", function, *args))
            failed = False
        except GeneratorExit:  # handle() is left, or the loop is gone: nothing can be waited for
            unit.close()
            if unit.lane is not None:
                unit.lane.end(commit=False)
            raise
        except BaseException as error:
            reason = await undone(unit, error)
            if reason is not error:
                raise reason  # noqa: B904  whatever the function made of it
            raise
        finally:
            ended_at = time.monotonic()
            session.figures.took("step", began, ended_at, failed=failed)
        unit.outcome = ItemOutcome(
            key=ticket.uuid,
            label=ticket.label,
            reason=STEP,
            state=ItemState.DONE,
            started=started,
            parse_ms=int((ended_at - began) * 1000),
            item=text,
        )
        ended = self._ended[unit] = Future()
        session.recorder.put(unit)
        await settle(ended)
        return text

    async def _rehearse(self, ticket: ItemTicket, name: str, function: Callable[..., Any], args: Sequence[Any]) -> str:
        """One attempt in a dry run: part of what `handle()` does, whose transaction may have the locks it needs."""
        unit = self._session.db
        async with self._one_at_a_time:
            with holding(ticket, unit):
                async with Savepoint(unit, unit.lend()):
                    text = self._fit(name, await self._session.hooks.call_for("handle", function, *args))
                    await unit.flush()
        self._rehearsed[ticket.uuid] = text
        self._done.add(ticket.uuid)
        return text

    def _fit(self, name: str, result: Any) -> str:
        """The result as it is kept. InvalidCommand where it cannot be, so that nothing of the step is."""
        where = f"The result of self.step({name!r})"
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise InvalidCommand(f"{where} is a {type(result).__name__} that nobody awaited: give the function itself.")
        try:
            text = text_to_keep(result)
        except (TypeError, ValueError) as error:
            raise InvalidCommand(f"{where} cannot be kept: {error}. Nothing of the step was kept.") from None
        if len(text) > LARGEST:
            raise InvalidCommand(
                f"{where} is {len(text):,} characters of JSON; allowed are {LARGEST:,}. Write it to a table or a file, "
                "and return where it is. Nothing of the step was kept."
            )
        if self._session.redact.knows(text):
            raise InvalidCommand(
                f"{where} contains the value of a secret option, which is stored nowhere: leave it out, and read it "
                "from the option after the step. Nothing of the step was kept."
            )
        return text

    # -- the recorder's answers --------------------------------------------------------------------------------

    def settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """See ItemsOwner."""
        for unit in units:
            ended = self._ended.pop(unit, None)
            if error is None:
                self._session.outages.over()
                ticket = unit.ticket
                assert isinstance(ticket, ItemTicket)  # noqa: S101 - each unit of ours has one
                self._done.add(ticket.uuid)
                self._session.stays(unit)
                self._context.steps_kept += 1
            if ended is not None and error is None:
                ended.set_result(None)
            elif ended is not None and error is not None:
                ended.set_exception(readable(error))

    def abort(self, error: BaseException) -> None:
        """Nothing more is recorded: who waits for that waits no longer."""
        ended, self._ended = self._ended, {}
        for one in ended.values():
            one.set_exception(error)
