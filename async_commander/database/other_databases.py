"""Rows for other databases than the ledger's: committed before their item is recorded, so at least once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from . import bulk
from .rows import Verb
from .snapshots import Undo
from .transaction import LaneTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .lent_lane import Lender
    from .rows import Request

logger = logging.getLogger(__name__)


class Queued(Protocol):
    """What is queued for several databases: a unit of work."""

    alias: str
    requests: list[Request]

    def committed_elsewhere(self, alias: str) -> None: ...


def write_other_databases(units: Sequence[Queued], lanes: Lender | None = None) -> None:
    """Write what is queued for other databases, on this thread, in one transaction for each of them.

    What is committed is not queued any more, so that doing it again does only what is left. Raises the database's
    errors; what was queued for that database and for those after it is queued still.
    """
    for alias in sorted({request.alias for unit in units for request in unit.requests if request.alias != unit.alias}):
        requests = [request for unit in units for request in unit.requests if request.alias == alias]
        if lanes is not None:
            _warn(requests, lanes)
        undo = Undo()
        try:
            with LaneTransaction(alias) if lanes is None else lanes.elsewhere(alias):
                bulk.write(alias, requests, undo)
        except BaseException:
            undo.restore()
            raise
        for unit in units:
            unit.committed_elsewhere(alias)


def _warn(requests: Iterable[Request], lanes: Lender) -> None:
    for request in requests:
        for label in {obj._meta.label for obj in request.objects if request.verb is Verb.ADD} - lanes.warned_of:
            lanes.warned_of.add(label)
            logger.warning(
                "self.db.add() of %s: it is kept in the database %r, and the run is recorded in %r. Such rows are "
                "committed before their item is: after a crash in between, or where the item fails later and is tried "
                "again, they are added twice. Use self.db.upsert() for them.",
                label, request.alias, lanes.alias,
            )  # fmt: skip
