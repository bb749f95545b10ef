"""Context variables, language and time zone of one item never reach another, in whichever hook they are set."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from django.db import models
from django.utils import timezone, translation

import async_commander as ac
from async_commander.database.layout import layout_of
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Effect, Tag

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

ITEMS = int(os.environ.get("CONTEXT_ITEMS", "200"))
LANGUAGES = ["de", "fr", "pl"]
ZONES = ["Asia/Tokyo", "Europe/Paris", "America/Lima"]


def seen() -> tuple[str, str | None, str]:
    return (
        tenant.get(),
        translation.get_language(),
        timezone.get_current_timezone_name(),
    )


OF_THE_RUN = ("of the run", "it", "Asia/Kolkata")


def become(name: str, rng: random.Random) -> tuple[str, str | None, str]:
    tenant.set(name)
    translation.activate(rng.choice(LANGUAGES))
    timezone.activate(ZoneInfo(rng.choice(ZONES)))
    return seen()


class Settings(ac.IterateDownloadCommand[int, str]):
    """Everything that can be set is set by each item, in each hook, and looked at everywhere."""

    plain: bool = False
    retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.rng = random.Random(11)
        self.wrong: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()
        self.failed: set[int] = set()

    @asynccontextmanager
    async def lifespan(self):
        become("of the run", self.rng)
        translation.activate("it")
        timezone.activate(ZoneInfo("Asia/Kolkata"))
        yield

    def look(self, where: str, expected: Any = OF_THE_RUN) -> None:
        self.looks[where] += 1
        if seen() != expected:
            self.wrong[f"{where}: {seen()}, not {expected}"] += 1

    async def iterate(self):
        for number in range(ITEMS):
            yield number

    def begin(self, item: int) -> Any:
        self.look("download")
        mine = become(str(item), self.rng)
        if item % 10 == 3 and item not in self.failed:
            self.failed.add(item)
            raise ConnectionError
        return mine

    async def committed(self, item: int) -> None:
        self.look("committed")
        become(f"committed {item}", self.rng)


class AsyncHooks(Settings):
    async def download(self, item: int) -> str:
        mine = self.begin(item)
        await anyio.sleep(self.rng.random() / 500)
        self.look("after a wait", mine)
        return "page"

    async def parse_and_save(self, item: int, payload: str) -> None:
        mine = become(f"saving {item}", self.rng)
        if item % 3 == 0:
            await self.db(self.look, "on a lane", mine)
        if item % 7 == 0:
            await Effect.objects.acreate(key=str(item))
        self.db.add(Tag(name=str(item)))
        await anyio.sleep(0)
        self.look("after the ORM", mine)


class PlainHooks(Settings):
    def download(self, item: int) -> str:
        mine = self.begin(item)
        self.look("in a thread", mine)
        return "page"

    def parse_and_save(self, item: int, payload: str) -> None:
        mine = become(f"saving {item}", self.rng)
        if item % 7 == 0:
            Effect.objects.create(key=str(item))
        self.db.add(Tag(name=str(item)))
        self.look("after the ORM", mine)


@pytest.fixture(autouse=True)
def layouts_made_anew() -> Iterator[None]:
    layout_of.cache_clear()
    yield
    layout_of.cache_clear()


def look_when_written(command: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Looking(models.CharField):
        def pre_save(self, model_instance: models.Model, add: bool) -> Any:
            command.look("pre_save of a queued row")
            return super().pre_save(model_instance, add)

    monkeypatch.setattr(Tag._meta.get_field("name"), "__class__", Looking)


@pytest.mark.parametrize("threads", [1, 7, 50])
@pytest.mark.parametrize("kind", [AsyncHooks, PlainHooks])
def test_nothing_that_an_item_sets_is_seen_elsewhere(
    run: Any, kind: type[Settings], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = kind()

    look_when_written(command, monkeypatch)
    before = seen()
    result = run(command, threads=threads, db_lanes=2)
    assert result.counts["done"] == ITEMS
    assert command.wrong == {}
    places = {"download", "committed", "after the ORM", "pre_save of a queued row"}
    assert {place for place in places if command.looks[place] < ITEMS} == set()
    assert seen() == before


def test_the_recorder_in_memory_writes_in_the_same_surroundings(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = AsyncHooks()

    look_when_written(command, monkeypatch)
    assert run(command, recorder=InMemoryRecorder()).counts["done"] == ITEMS
    assert command.wrong == {}
