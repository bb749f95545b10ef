"""The item that a task has in hand: what the runner knows of it, and where the rest of this code finds it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from async_commander.command.items import UnfitItem
from async_commander.database.lent_lane import settle
from async_commander.database.outage import is_transient
from async_commander.database.unit import Unit, current_unit, unit_on_lane
from async_commander.downloads.scope import item_scope
from async_commander.engine.pace import pace_key_held
from async_commander.engine.ports import Ticket
from async_commander.history.ledger import CRASHES_ALONE
from async_commander.history.log_capture import about_item, item_in_hand
from async_commander.history.recorder import Known
from async_commander.results import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from async_commander.database.rows import Request

    from .outages import Absence


@dataclass(eq=False, kw_only=True)
class ItemTicket(Ticket):
    """One item of a run in memory: what the pipeline knows of it, and what the runner and its ledger do."""

    uuid: UUID
    """Its key in the ledger: the digest of `key`."""
    label: str
    admitted: float
    unfit: UnfitItem | None = None
    """Why it can have no key: it is dead."""
    work_began: float = field(default=0.0, init=False)
    """On the monotonic clock, as `admitted` is."""
    started: datetime | None = field(default=None, init=False)
    download_ms: int | None = field(default=None, init=False)
    parse_ms: int | None = field(default=None, init=False)
    followed: Sequence[Followed] = field(default=(), init=False)
    brought_up: Sequence[Any] = field(default=(), init=False)
    """The items behind `followed`, as they were given."""
    payload: Any = field(default=None, init=False)
    """What was downloaded, as long as it waits for others."""
    queued: Sequence[Request] = field(default=(), init=False)
    """The rows that its download has queued, as long as it waits for others."""
    return_value: Any = field(default=None, init=False)
    error_kind: str = field(default="", init=False)
    error: str = field(default="", init=False)
    """What the last attempt failed with, as the ledger says it."""
    absence: Absence | None = field(default=None, init=False)
    """Of the database."""

    @property
    def identity(self) -> UUID:
        """See Ticket."""
        return self.uuid

    def begin(self) -> None:
        """An attempt begins."""
        self.work_began, self.started = time.monotonic(), datetime.now(UTC)
        self.followed = self.brought_up = ()

    def recall(self, known: Known) -> None:
        """Take over what the ledger knows of it."""
        self.known = True
        self.attempts, self.crashes = known.attempts, known.crashes
        self.alone = known.crashes >= CRASHES_ALONE
        self.error_kind, self.error = known.error_kind, known.error


class OpenSteps(Protocol):
    """The steps of a `handle()` that is at work."""

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """What a step comes to."""


steps_open: ContextVar[OpenSteps | None] = ContextVar("async_commander_steps", default=None)
"""Those of the `handle()` that this code is part of."""

in_hand: ContextVar[ItemTicket | None] = ContextVar("async_commander_in_hand", default=None)
"""Set in the item's own context, for the time of an attempt."""


@contextmanager
def holding(ticket: ItemTicket, unit: Unit) -> Iterator[None]:
    """For a step of `handle()`, which has no context of its own: what an item has in its own."""
    with ExitStack() as stack:
        stack.callback(in_hand.reset, in_hand.set(ticket))
        stack.enter_context(about_item(ticket.uuid))
        stack.callback(current_unit.reset, current_unit.set(unit))
        stack.callback(unit_on_lane.reset, unit_on_lane.set(unit))
        yield


async def undone(unit: Unit, error: BaseException) -> BaseException:
    """Roll back what a unit did. The error that it failed with: where its connection was lost, that is the reason."""
    await unit.discard()
    lost = None if unit.lane is None else unit.lane.lost
    if isinstance(error, Exception) and lost is not None and not (is_transient(error) and is_transient(lost)):
        return lost
    return error


async def close_without_rows(unit: Unit) -> None:
    """Its rows are another one's. What it did on a lane, in a dry run, is counted and rolled back."""
    ended = None if unit.lane is None else unit.lane.end(commit=True)
    unit.close()
    if ended is not None:
        await settle(ended)


@contextmanager
def holding_nothing() -> Iterator[None]:
    """For a run that an item of another run begins: it has no item in hand yet."""
    with ExitStack() as stack:
        for variable in (in_hand, item_in_hand, current_unit, unit_on_lane, pace_key_held, item_scope):
            stack.callback(variable.reset, variable.set(None))  # type: ignore[arg-type]
        yield
