"""What became of items: an outcome on a unit of work, handed to the recorder."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from async_commander.command.items import item_to_json
from async_commander.database.unit import Unit
from async_commander.history.recorder import ItemOutcome
from async_commander.results import ItemState

from .verdicts import text_of

if TYPE_CHECKING:
    from .in_hand import ItemTicket
    from .session import RunSession


class Outcomes:
    """Makes the outcomes of one run's items, and hands them over. `ticket.state` is set with each."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._recorder = session.recorder
        self._warned = False

    def done(self, ticket: ItemTicket, unit: Unit) -> None:
        """The item's work is done: its writes are to commit, together with its ledger row."""
        unit.outcome = self._outcome(ticket, ItemState.DONE, followed=ticket.followed)
        ticket.state = ItemState.DONE
        self._recorder.put(unit)

    def hand_over(self, ticket: ItemTicket, state: ItemState, **columns: Any) -> None:
        """The item is dead, skipped or to be tried later: only its ledger row is to commit."""
        unit = Unit(self._session.lanes.alias, ticket=ticket)
        is_kept = state in (ItemState.DEAD, ItemState.RETRY) and ticket.unfit is None
        stored = self._stored_item(ticket) if is_kept else None
        unit.outcome = self._outcome(ticket, state, item=stored, **columns)
        ticket.state = state
        self._recorder.put(unit)

    def given_back(self, ticket: ItemTicket) -> ItemOutcome:
        """That of an item which the ledger knows, and which was stopped before it was done."""
        return self._outcome(
            ticket, ItemState.RETRY, item=self._stored_item(ticket), error_kind=ticket.error_kind, error=ticket.error
        )

    def _outcome(self, ticket: ItemTicket, state: ItemState, **columns: Any) -> ItemOutcome:
        return ItemOutcome(
            key=ticket.uuid,
            label=ticket.label,
            state=state,
            known=ticket.known,
            attempts=ticket.attempts,
            crashes=ticket.crashes,
            started=ticket.started,
            wait_ms=milliseconds(ticket.admitted, ticket.work_began) if ticket.work_began else None,
            download_ms=ticket.download_ms,
            parse_ms=ticket.parse_ms,
            worker=ticket.worker,
            **columns,
        )

    def keepable(self, ticket: ItemTicket) -> bool:
        """Whether the ledger can keep the item itself: JSON can hold it."""
        try:
            return item_to_json(ticket.item) is not None
        except (TypeError, ValueError):
            return False

    def _stored_item(self, ticket: ItemTicket) -> Any:
        try:
            return item_to_json(ticket.item)
        except (TypeError, ValueError) as error:
            if not self._warned:
                self._warned = True
                why = text_of(error, self._session.redact)
                text = f"Items that wait for another attempt cannot be kept; they wait for a resume: {why}"
                self._session.reporter.message(text, logging.WARNING)
            return None


def milliseconds(began: float, ended: float | None = None) -> int:
    """From one time of the monotonic clock to another, or to now."""
    return int(((time.monotonic() if ended is None else ended) - began) * 1000)
