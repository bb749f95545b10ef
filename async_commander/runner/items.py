"""One item's way between the pipeline, the command's hooks and the recorder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import IntegrityError

from async_commander.command.hooks import HookKind
from async_commander.command.identity import item_label, key_uuid
from async_commander.command.items import ItemGone, UnfitItem, item_to_json, row_reference
from async_commander.command.shapes import At
from async_commander.database.unit import Unit, current_unit, unit_on_lane
from async_commander.downloads.scope import ItemScope, item_scope
from async_commander.engine.charging import uncharged
from async_commander.engine.failures import ends_the_run
from async_commander.engine.pipeline import Due, Pipeline, Verdict
from async_commander.engine.quota import Quota
from async_commander.exceptions import InvalidCommand
from async_commander.history.log_capture import FAILURE, about_item, item_in_hand, told_briefly
from async_commander.history.recorder import Candidate, Known, SafeCursor, outcomes_of
from async_commander.results import ItemOutcome, ItemState, items_in_words
from async_commander.text.errors import readable
from async_commander.text.values import ADDRESS, text_of_value

from .cursors import Cursors
from .in_hand import ItemTicket, close_without_rows, in_hand, undone
from .observing import ITEM
from .sources import restored
from .verdicts import REASON_LENGTH, in_a_template, judge, kind_of, place_of, text_of

if TYPE_CHECKING:
    from .acknowledging import Acknowledger
    from .session import RunSession

logger = logging.getLogger("async_commander.run")

_AFTER = {True: "iterate(self, after=None)", False: "iterate(self, payload, after=None)"}
"""By whether each item has a download."""
_ENDS = frozenset({ItemState.DONE, ItemState.DEAD})
NO_ITEMS_FAULT = (InvalidCommand, StopIteration, StopAsyncIteration)
"""What a hook that names items raises by a mistake of its own: the next item would meet it as well."""


class ItemPorts:
    """The pipeline's ports for the two shapes with items; with `download`, each item has one of its own."""

    def __init__(
        self,
        session: RunSession,
        acknowledger: Acknowledger,
        *,
        download: bool,
        quota: Quota,
        cursor: SafeCursor | None = None,
    ) -> None:
        self._session = session
        self._download = download
        self._acknowledger = acknowledger
        self._hooks = session.hooks
        self._recorder = session.recorder
        self._ordered = self._hooks.has("order_key")
        self._gathers = self._hooks.has("parse_and_save_many")
        self.has_ledger = session.recorder.keeps_items
        self._tally = session.context.tally
        self._figures = session.figures
        self._lanes = session.lanes
        self._read_ahead: deque[int] = deque()
        """Places in the source of the items that it yielded and that were not admitted yet."""
        self._quota = quota
        self.cursors = (
            Cursors(self._recorder.source_settled, session.redact, begun_at=cursor)
            if self._hooks.takes("iterate", "after")
            else None
        )
        """Of a source that can be gone on with where it was left."""
        self._cuts_itself = self._hooks.takes("iterate", "shard")
        # A cursor would have to remember each item that waits in the ledger for its turn: these are few, or unread.
        self.calls_back = self.has_ledger and self.cursors is None and getattr(session.recorder, "calls_back", False)
        self._places = count()
        """Of those that are put by."""
        self._source_ended = False
        self._left_over = True
        self._warned_of_duplicates = self._warned_of_the_left_out = self._warned_of_the_unkept = False
        self.source: Any = None
        """What `iterate` gave. Where it is a queryset, items of the ledger are read again as it gives them."""
        self.open_source: Callable[[], Awaitable[Any]] | None = None
        """Where the source is not read: gives it, for the sake of items that are rows."""
        self.pipeline: Pipeline[ItemTicket]

    # -- coming in ---------------------------------------------------------------------------------------------

    def after(self) -> Any:
        """The cursor after which the source is to be read now; None: from its beginning."""
        return None if self.cursors is None else self.cursors.after

    @property
    def place(self) -> int:
        """How many items come before what is read of the source when it is asked now."""
        return 0 if self.cursors is None else self.cursors.place

    async def falls_to_us(self, given: Any, place: int) -> bool:
        """Whether an item of the source is this process's: of a shard those by the hashes of their keys, or lines."""
        shard = self._session.context.shard
        if shard is None or shard.by_range or self._cuts_itself:
            return True
        item = given.item if type(given) is At else given
        try:
            key = await self.line_of(item) or key_uuid(self._hooks.decide("item_key", item))
        except Exception:  # noqa: BLE001 - reported where the item is admitted
            key = key_uuid(f"item {place} of the source")
        return shard.has(key)

    def source_yielded(self, given: Any, place: int) -> Any:
        """The source gave one more, the first of which has place 1. Returns the item itself, which `admit` will get."""
        if self.cursors is not None:
            given = self.cursors.yielded(given, place)
        elif type(given) is At:
            raise InvalidCommand(
                f"iterate() yields ac.At(item, cursor), and does not take the cursor to go on after: write "
                f"`{_AFTER[self._download]}`, and yield what comes after it; None means from the beginning."
            )
        self._read_ahead.append(place)
        return given

    def source_restarted(self) -> None:
        """The source is begun anew, after the last safe cursor: what it yields again is no duplicate."""
        self._recorder.source_restarted()
        if self.cursors is not None:
            self.cursors.restarted()

    def source_ended(self) -> None:
        """The source was read to its end. What a crash left over is run once all of that is admitted."""
        self._source_ended = True
        if self.cursors is not None:
            self.cursors.ended()

    async def admit(self, items: Sequence[Any]) -> Sequence[ItemTicket]:
        """Give each item its key, and claim those that are to run."""
        made: dict[UUID, ItemTicket] = {}
        candidates, now = [], time.monotonic()
        for item in items:
            ticket = await self._ticket(item, self._read_ahead.popleft(), now)
            made.setdefault(ticket.uuid, ticket)
            candidates.append(Candidate(ticket.uuid, ticket.label))
        answer = await self._recorder.admit(candidates, room=self._quota.room)
        if self.cursors is not None:
            self.cursors.admit(candidates, answer)
        if self._source_ended and not self._read_ahead:
            self.pipeline.nudge()
        self._tally.taken += len(answer.fresh) + answer.duplicates
        self._tally.skipped += answer.duplicates
        self._tally.retry -= answer.from_retry
        self._quota.recovered -= len(answer.again) + len(answer.crashed)
        if answer.duplicates and not self._warned_of_duplicates:
            self._warn_of_duplicates(answer.duplicates)
        for key, known in (*answer.again.items(), *answer.crashed.items()):
            made[key].recall(known)
        for key in answer.crashed:
            self._bury(made[key])
        ours = []
        for key, ticket in made.items():
            if key not in answer.fresh and key not in answer.again:
                continue
            if ticket.unfit is None:
                ours.append(ticket)
            else:  # it cannot be known from others, or kept: it is dead, and the others go on
                ticket.attempts = max(ticket.attempts, 1)
                self.pipeline.handed_over(ticket)
                self.failed(ticket, ticket.unfit, Verdict("dead", reason=ticket.unfit.reason))
                told: dict[str, Any] = {"error_kind": ticket.error_kind, "error": ticket.error}
                self._hand_over(ticket, ItemState.DEAD, reason=ticket.unfit.reason, **told)
        return ours

    def _warn_of_duplicates(self, number: int) -> None:
        self._warned_of_duplicates = True
        self._session.reporter.message(
            f"The source yielded {items_in_words(number)} with a key that it had yielded before: "
            "skipped as duplicates. Define item_key() if they are different items.",
            logging.WARNING,
        )

    async def _ticket(self, item: Any, place: int, now: float) -> ItemTicket:
        label = item_label(item, self._session.redact)
        try:
            key = self._hooks.decide("item_key", item)
            throttle = self._hooks.decide("throttle_key", item)
            line = await self.line_of(item) if self._ordered else None
        except Exception as error:
            if ends_the_run(error) or isinstance(error, NO_ITEMS_FAULT):
                raise
            unfit = UnfitItem(f"Item {place} of the source: {text_of(error, self._session.redact)}")
            key = f"item {place} of the source: {ADDRESS.sub('', text_of_value(item))}"
            unfit = unfit.with_traceback(error.__traceback__)
            return ItemTicket(item, key, uuid=key_uuid(key), label=label, admitted=now, unfit=unfit)
        return ItemTicket(item, key, throttle=throttle, order=line, uuid=key_uuid(key), label=label, admitted=now)

    async def line_of(self, item: Any) -> UUID | None:
        """The line in which it goes one after another with others; None where it needs no order."""
        name = await self._decided("order_key", item)
        return None if name is None else key_uuid(str(name))

    async def _decided(self, hook: str, item: Any) -> Any:
        """What a hook says of an item, which may be asynchronous, and is called on the event loop in any case."""
        if self._hooks.has(hook) and self._hooks.kind(hook) is HookKind.ASYNC:
            return await self._hooks.call(hook, item)
        return self._hooks.decide(hook, item)

    def _bury(self, ticket: ItemTicket) -> None:
        """Three crashes: given up without another try."""
        self.pipeline.handed_over(ticket)
        text = f"The process ended {ticket.crashes} times while it had this item in hand."
        self._figures.failed("Crashed", text, ticket.label)
        self._session.reporter.item_failed(ticket.label, "Crashed", text, final=True)
        ticket.error_kind, ticket.error = "Crashed", text
        with about_item(ticket.uuid):
            logger.error("%s is given up: %s", ticket.label, text, extra=_facts(ticket, final=True))
        self._hand_over(ticket, ItemState.DEAD, reason="crashed", error_kind="Crashed", error=text)

    # -- the work ----------------------------------------------------------------------------------------------

    async def work(self, ticket: ItemTicket) -> None:
        """Both hooks of one item; on return its writes are handed over or committed.

        Where items are gathered, what goes before that: its download, if it has one.
        """
        ticket.begin()
        if ticket.alone:
            with uncharged():
                await self._recorder.claim([ticket.uuid])
        unit = Unit(self._lanes.alias, lanes=self._lanes, ticket=ticket)
        # Where `self.db`, `self.follow()`, the log and the cookies of `self.http` find what this task has in hand; the
        # item's own context ends with the attempt.
        in_hand.set(ticket)
        item_in_hand.set(ticket.uuid)
        current_unit.set(unit)
        item_scope.set(ItemScope())
        if self._lanes.rehearsal is not None:
            unit_on_lane.set(unit)  # what its download() does with the database is rolled back with the rest
        if self._hooks.observers.anybody:
            async with self._hooks.observers.around(ITEM, ticket.label):
                await self._carry(ticket, unit)
        else:
            await self._carry(ticket, unit)
        if not self._gathers:
            self._hand_over(ticket, ItemState.DONE, unit, followed=ticket.followed)

    async def work_together(self, tickets: Sequence[ItemTicket]) -> None:
        """One call for all of them; on return their writes are handed over as one unit."""
        first = tickets[0]
        unit = Unit(self._lanes.alias, lanes=self._lanes, ticket=first)
        unit.requests = [request for ticket in tickets for request in ticket.queued]
        # A call for several is no item's: what it brings up is the first one's, and its key is made of all their keys.
        alone = len(tickets) == 1
        key = first.key if alone else "\n".join(["together", *(ticket.key for ticket in tickets)])
        label = first.label if alone else f"{items_in_words(len(tickets))} from {first.label}"
        call = ItemTicket(None, key, uuid=first.uuid, label=label, admitted=first.admitted)
        in_hand.set(call)
        item_in_hand.set(first.uuid if alone else None)
        current_unit.set(unit)
        item_scope.set(ItemScope())
        unit_on_lane.set(unit)
        items = [(ticket.item, ticket.payload) if self._download else ticket.item for ticket in tickets]
        began = time.monotonic()
        try:
            async with self._hooks.observers.around(ITEM, label):
                call.return_value = await self._hooks.call("parse_and_save_many", items)
            await self._find_lines(call)
        except BaseException as error:
            await self._undo(unit, error, "parse", began, label)
            raise
        ended = time.monotonic()
        self._figures.took("parse", began, ended)
        for ticket in tickets:
            ticket.parse_ms, ticket.return_value = int((ended - began) * 1000), call.return_value
        unit.others = [Unit(self._lanes.alias, ticket=ticket) for ticket in tickets[1:]]
        for one, ticket in zip((unit, *unit.others), tickets, strict=True):
            brought_up = [*ticket.followed, *(call.followed if ticket is first else ())]
            one.outcome = _outcome_of(ticket, ItemState.DONE, {"followed": brought_up})
            ticket.state = ItemState.DONE
        self._recorder.put(unit)

    async def _find_lines(self, ticket: ItemTicket) -> None:
        """Of what it brings up: the lines that it goes in."""
        if ticket.brought_up and self._ordered:
            lines = [await self.line_of(item) for item in ticket.brought_up]
            ticket.followed = [replace(one, line=line) for one, line in zip(ticket.followed, lines, strict=True)]

    async def _undo(self, unit: Unit, error: BaseException, stage: str, began: float, label: str) -> None:
        """Roll back. Raises the reason where the error is but what came of it."""
        self._figures.took(stage, began, time.monotonic(), failed=True)
        if ends_the_run(error):
            self._session.log_failure(f"{in_a_template(kind_of(error))} in item “%s” ends the run:", error, label)
        reason = await undone(unit, error)
        if reason is not error:
            raise reason  # whatever the hook made of it; the error has a cause of its own

    async def _carry(self, ticket: ItemTicket, unit: Unit) -> None:
        arguments: tuple[Any, ...] = (ticket.item,)
        began, stage = time.monotonic(), "download"
        try:
            if self._download:
                arguments = ticket.item, await self._hooks.call("download", ticket.item)
                ended = time.monotonic()
                ticket.download_ms = int((ended - began) * 1000)
                self._figures.took("download", began, ended)
                began = ended
            stage = "parse"
            if self._gathers:
                ticket.group = await self._decided("batch_key", ticket.item)
                ticket.payload = arguments[-1]
                ticket.queued, unit.requests = unit.requests, []
                await close_without_rows(unit)
            else:
                unit_on_lane.set(unit)
                ticket.return_value = await self._hooks.call("parse_and_save", *arguments)
                ended = time.monotonic()
                ticket.parse_ms = int((ended - began) * 1000)
                self._figures.took("parse", began, ended)
            if ticket.brought_up:
                await self._find_lines(ticket)
        except BaseException as error:
            await self._undo(unit, error, stage, began, ticket.label)
            raise

    # -- what became of it -------------------------------------------------------------------------------------

    def _hand_over(self, ticket: ItemTicket, state: ItemState, unit: Unit | None = None, **columns: Any) -> None:
        """Its writes are to commit, together with its ledger row; without a unit only that."""
        if unit is None:
            unit = Unit(self._lanes.alias, ticket=ticket)
            if state in (ItemState.DEAD, ItemState.RETRY) and ticket.unfit is None:
                columns["item"] = self._stored_item(ticket)
        unit.outcome = _outcome_of(ticket, state, columns)
        ticket.state = state
        self._recorder.put(unit)

    def _stored_item(self, ticket: ItemTicket) -> Any:
        try:
            return item_to_json(ticket.item)
        except (TypeError, ValueError) as error:
            if self.has_ledger and not self._warned_of_the_unkept:
                self._warned_of_the_unkept = True
                why = text_of(error, self._session.redact)
                text = f"Items that wait for another attempt cannot be kept; they wait for a resume: {why}"
                self._session.reporter.message(text, logging.WARNING)
            return None

    def verdict(self, ticket: ItemTicket, error: BaseException) -> Verdict:
        """What an error means for its item."""
        return self._session.outages.verdict(ticket, error) or judge(
            error, lambda: self._hooks.decide("should_retry", error)
        )

    def failed(self, ticket: ItemTicket, error: BaseException, verdict: Verdict) -> None:
        """Report a failed attempt, whatever was decided about it."""
        if verdict.kind not in ("dead", "retry"):
            return
        again = verdict.kind == "retry"
        text = text_of(error, self._session.redact)
        ticket.error_kind, ticket.error = kind_of(error), text
        self._figures.failed(ticket.error_kind, text, ticket.label)
        self._session.reporter.item_failed(ticket.label, ticket.error_kind, text, not again)
        # One template for each kind of error: who collects errors tells them apart by it, and has the exception.
        template = f"%s failed in attempt %d{'' if again else ', for good'}: {in_a_template(kind_of(error))}: %s%s"
        detailed = self._session.context.verbosity >= 3
        with told_briefly(brief=not detailed), about_item(ticket.uuid):
            logger.log(
                logging.INFO if again else logging.ERROR,
                template,
                ticket.label, ticket.attempts, text, "" if again else place_of(error),
                exc_info=error if detailed or not again else None,
                extra=_facts(ticket, final=not again),
            )  # fmt: skip

    async def give_up(self, ticket: ItemTicket, error: BaseException, verdict: Verdict) -> None:
        """Dead or skipped: only the ledger row is written."""
        if verdict.kind == "skip":
            reason = text_of(error, self._session.redact, REASON_LENGTH) if error.args else "skipped"
            self._hand_over(ticket, ItemState.SKIPPED, reason=reason)
            return
        state = None
        if isinstance(error, IntegrityError) and not ticket.known:
            # The row in the way may be the item's own: an earlier COMMIT got no answer in time, or another item
            # followed this one meanwhile, in another shard perhaps.
            state = await self._recorder.state_of(ticket.uuid)
        if state in (ItemState.DONE, ItemState.SKIPPED):
            if self.cursors is not None:
                self.cursors.settled(ticket.uuid)
            ticket.state = state
            asyncio.get_running_loop().call_soon(self.pipeline.settled, [ticket])
            return
        if state is ItemState.RETRY:
            await self._recorder.adopt(ticket.uuid)
            self._tally.taken -= 1
            self._tally.retry -= 1
            ticket.known = True
            self._hand_over(ticket, ItemState.RETRY, delay=0.0)
            return
        self._hand_over(
            ticket,
            ItemState.DEAD,
            reason=verdict.reason,
            error_kind=kind_of(error),
            error=text_of(error, self._session.redact),
        )

    def keepable(self, ticket: ItemTicket) -> bool:
        """Whether JSON can hold the item, so that the ledger, where there is one, gives it back."""
        if not self.has_ledger:
            return False
        try:
            return item_to_json(ticket.item) is not None
        except (TypeError, ValueError):
            return False

    async def postpone(self, ticket: ItemTicket, delay: float | None) -> None:
        """Kept in the ledger until its time has come, or its line is called."""
        self._left_over = True
        place = next(self._places) if delay is None else None
        told: dict[str, Any] = {"error_kind": ticket.error_kind, "error": ticket.error}
        self._hand_over(ticket, ItemState.RETRY, delay=delay, place=place, **told)

    async def release(self, tickets: Sequence[ItemTicket]) -> None:
        """Stopped before they were done: given back."""
        fresh = [ticket for ticket in tickets if not ticket.known]
        known = [ticket for ticket in tickets if ticket.known]
        given_back = []
        for ticket in known:
            columns = {"item": self._stored_item(ticket), "error_kind": ticket.error_kind, "error": ticket.error}
            given_back.append(_outcome_of(ticket, ItemState.RETRY, columns))
        await self._recorder.release([one.uuid for one in fresh], given_back)
        self._tally.taken -= len(fresh)
        self._tally.retry += len(known)

    async def due(self, room: int, called: Sequence[Any] = ()) -> Due[ItemTicket]:
        """What the ledger kept and whose time has come; at the end also what a crash left over."""
        source_ended = self._source_ended and not self._read_ahead
        if not self._tally.retry and not (source_ended and self._left_over):
            return Due([], None)
        lines = {"called": called} if called else {}
        found = await self._recorder.stored(room, source_ended=source_ended, **lines)
        self._tally.retry -= found.from_retry
        self._tally.skipped += found.gone
        self._tally.dead += found.dead
        if source_ended and not found.items and found.next_in is None and not (found.gone or found.dead):
            self._left_over = False
        tickets = []
        if found.items:
            stored = [known.item for known in found.items]
            if self.open_source is not None and any(map(row_reference, stored)):
                self.source, self.open_source = await self.open_source(), None
            items = await sync_to_async(restored)(stored, self.source)
            tickets = [await self._restored(known, those) for known, those in zip(found.items, items, strict=True)]
        next_in = 0.0 if found.gone or found.dead else found.next_in  # where some were left out, there may be more
        return Due([ticket for ticket in tickets if ticket is not None], next_in)

    async def _restored(self, known: Known, items: Sequence[Any] | ItemGone) -> ItemTicket | None:
        ticket = ItemTicket(known.item, uuid=known.key, label=known.label, known=True, admitted=time.monotonic())
        ticket.order, ticket.put_by = known.line, known.called
        if isinstance(items, ItemGone):
            self.pipeline.handed_over(ticket)
            text = text_of(items, self._session.redact)
            self._hand_over(ticket, ItemState.SKIPPED, reason="gone", error=text)
            return None
        ticket.item = items[0]
        if len(items) > 1:  # the one that has this key; any, where their keys are not what they were
            keyed = ((key_uuid(self._hooks.decide("item_key", item)), item) for item in items)
            ticket.item = next((item for key, item in keyed if key == known.key), items[0])
        ticket.key = self._hooks.decide("item_key", ticket.item)
        ticket.throttle = self._hooks.decide("throttle_key", ticket.item)
        if ticket.order is None and self._ordered:
            ticket.order = await self.line_of(ticket.item)
        ticket.recall(known)
        return ticket

    def settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """The recorder's answer to the units of a batch, on the event loop."""
        settled: list[ItemTicket] = []
        now = time.monotonic()
        for unit in units:
            if error is not None:
                self._refused(unit, error)
                continue
            self._settle(unit, now, settled)
            for other in unit.others:
                self._settle(other, now, settled)
            if self._session.command.keep_values:
                outcome, ticket = _of_an_item(unit)
                if outcome.state is ItemState.DONE:
                    self._session.values.append(ticket.return_value)
        if error is None:
            self._session.outages.over()
            self._session.teller.settled(units)
            if self.cursors is not None:
                self.cursors.settle(outcomes_of(units))
        if settled:
            self.pipeline.settled(settled)

    def _ended(self, ticket: ItemTicket, outcome: ItemOutcome, now: float) -> None:
        if outcome.state is ItemState.DONE:
            self._figures.took("item", ticket.work_began, now)
        milliseconds = int((now - ticket.work_began) * 1000)
        if outcome.state in _ENDS and ticket.work_began and self._figures.is_slow(milliseconds):
            self._figures.remember(milliseconds, _told_of(outcome, now))

    def _settle(self, unit: Unit, now: float, settled: list[ItemTicket]) -> None:
        """One item is committed: it is settled, or is acknowledged first."""
        outcome, ticket = _of_an_item(unit)
        self._ended(ticket, outcome, now)
        if outcome.followed or unit.undeleted:
            self._session.stays(unit)
            self._followed(outcome)
        if outcome.state is ItemState.DONE and self._acknowledger.wanted:
            self._acknowledger.put(ticket)
        else:
            settled.append(ticket)

    def _refused(self, unit: Unit, error: BaseException) -> None:
        outcome, ticket = _of_an_item(unit)
        if outcome.state is ItemState.DONE:
            self.pipeline.rejected(ticket, readable(error))
        else:
            self.pipeline.abort(error)

    def _followed(self, outcome: ItemOutcome) -> None:
        self._tally.taken += outcome.followed_new
        self._tally.retry += outcome.followed_new
        if self._tally.total is not None:
            self._tally.total = max(self._tally.total, self._tally.taken)
        if outcome.left_out and not self._warned_of_the_left_out:
            self._warned_of_the_left_out = True
            text = "As many items as max_items allows are taken: those that others bring up from now on are left out."
            self._session.reporter.message(text, logging.WARNING)
        if outcome.left_out and self._quota.recovered <= 0:
            self.pipeline.enough()
        if outcome.followed_new:
            self.pipeline.nudge()


def _of_an_item(unit: Unit) -> tuple[ItemOutcome, ItemTicket]:
    """What each unit has that these ports put."""
    assert unit.outcome is not None  # noqa: S101
    assert isinstance(unit.ticket, ItemTicket)  # noqa: S101
    return unit.outcome, unit.ticket


def _facts(ticket: ItemTicket, *, final: bool) -> dict[str, Any]:
    """What a log record says of an item that failed, for programs."""
    told = {"label": ticket.label, "kind": ticket.error_kind, "error": ticket.error}
    return {FAILURE: {**told, "attempt": ticket.attempts, "final": final}}


def _told_of(outcome: ItemOutcome, now: float) -> dict[str, Any]:
    """What is remembered of a slow item: JSON."""
    return {
        "key": outcome.key.hex,
        "label": outcome.label,
        "state": outcome.state.value,
        "started": outcome.started.isoformat() if outcome.started else None,
        "attempts": outcome.attempts,
        "worker": outcome.worker,
        "wait": outcome.wait_ms,
        "download": outcome.download_ms,
        "parse": outcome.parse_ms,
        "save": int((now - outcome.handed_over) * 1000),
    }


def _outcome_of(ticket: ItemTicket, state: ItemState, columns: dict[str, Any]) -> ItemOutcome:
    began = ticket.work_began
    return ItemOutcome(
        key=ticket.uuid,
        label=ticket.label,
        state=state,
        known=ticket.known,
        attempts=ticket.attempts,
        crashes=ticket.crashes,
        started=ticket.started,
        wait_ms=int((began - ticket.admitted) * 1000) if began else None,
        download_ms=ticket.download_ms,
        parse_ms=ticket.parse_ms,
        worker=ticket.worker,
        line=ticket.order if state in (ItemState.RETRY, ItemState.DEAD) else None,  # type: ignore[arg-type]
        **columns,
    )
