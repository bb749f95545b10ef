"""Lanes and writers on the suite's database, and what the owner of a writer brings along."""

from __future__ import annotations

import math
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

from async_commander.database import writer as writing
from async_commander.database.lanes import open_lanes
from async_commander.database.unit import Unit, write_units
from async_commander.database.writer import Writer
from tests.testapp.models import Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from django.db.models import Model

    from async_commander.database.lanes import LanePool


@pytest.fixture
def unit() -> Unit:
    return Unit("default")


def write(*units: Unit) -> None:
    """As the writer does with a batch: in one transaction."""
    with transaction.atomic():
        write_units(units)
    for unit in units:
        unit.forget()


class _With:
    """An owner, some of whose methods are others."""

    def __init__(self, owner: Owner, others: dict[str, Any]) -> None:
        self._owner = owner
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._owner, name)


@dataclass
class Owner:
    """Keeps a ledger of one Tag per outcome, in the transaction of the unit's rows."""

    settled: list[tuple[Any, BaseException | None]] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    asked: list[list[Any]] = field(default_factory=list)
    fatal: list[BaseException] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    """Raised by the next calls of `finish`, one each."""
    at_once: bool = False
    """Whether `finish` is one statement, where all units have an outcome."""

    def finishes_at_once(self, units: Sequence[Unit]) -> bool:
        return self.at_once

    def finish(self, units: Sequence[Unit]) -> None:
        self.batches.append([unit.outcome for unit in units])
        Tag.objects.bulk_create([Tag(name=unit.outcome) for unit in units if unit.outcome])
        if self.failures:
            raise self.failures.pop(0)

    def recorded(self, units: Sequence[Unit]) -> set[int]:
        self.asked.append([unit.outcome for unit in units])
        names = set(Tag.objects.filter(name__in=[unit.outcome for unit in units]).values_list("name", flat=True))
        return {position for position, unit in enumerate(units) if unit.outcome in names}

    def units_settled(self, units: Sequence[Unit], error: BaseException | None) -> None:
        self.settled += [(unit.outcome, error) for unit in units]

    def writing_failed(self, error: BaseException) -> None:
        self.fatal.append(error)

    @property
    def done(self) -> list[Any]:
        return [outcome for outcome, error in self.settled if error is None]

    @property
    def failed(self) -> dict[Any, BaseException]:
        return {outcome: error for outcome, error in self.settled if error is not None}

    @asynccontextmanager
    async def writer(self, lanes: LanePool, **options: Any) -> AsyncIterator[Writer]:
        others = {name: options.pop(name) for name in ("finish", "recorded") if name in options}
        writer = Writer(lanes, _With(self, others), **{"batch_size": 100, **options})
        try:
            yield writer
        finally:
            await writer.aclose()


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    """Its batches are as large as they may be, also on a machine that is slow just now."""
    monkeypatch.setattr(writing, "BATCH_SECONDS", math.inf)
    return Owner()


@pytest_asyncio.fixture
async def lanes(transactional_db: None) -> AsyncIterator[LanePool]:
    """Four lanes; afterwards no connection is left, not even that of asgiref's thread."""
    async with open_lanes("default", 4) as lanes:
        yield lanes
    await sync_to_async(connections.close_all)()


@pytest.fixture
def options(transactional_db: None) -> Iterator[dict[str, Any]]:
    """The OPTIONS of the database, for the connections that are opened from here on."""
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    connection.close()
    yield options
    if "pool" in options:
        connection.close_pool()
    options.clear()
    options.update(before)


@contextmanager
def created(*models: type[Model]) -> Iterator[None]:
    """The tables of models that a test makes for itself, in a test that commits."""
    with connection.schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)


@pytest.fixture
def few_parameters(db: None) -> Iterator[None]:
    """What an SQLite of long ago takes in one statement."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    before = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    yield
    connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)


@pytest.fixture
def sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the write gate is for SQLite")


@pytest.fixture
def postgres() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs a server whose connections can be counted and cut")
