"""A run whose database is away at its end has ended in order all the same: no item pays for it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper

import async_commander as ac
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.runs import sweep
from async_commander.models import Run, RunItem, RunLog
from tests.integration.runner.ledger import end_without_a_word, row_of

pytestmark = pytest.mark.timeout(120)


class Away:
    """A database that is there, or is not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = False
        for name in ("execute", "executemany"):
            monkeypatch.setattr(CursorWrapper, name, self._unless_away(getattr(CursorWrapper, name)))

    def _unless_away(self, original: Any) -> Any:
        def execute(cursor: CursorWrapper, *arguments: Any, **named: Any) -> Any:
            if self.now:
                raise OperationalError("connection refused")
            return original(cursor, *arguments, **named)

        return execute


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    away = Away(monkeypatch)
    yield away
    away.now = False


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ends are kept, apart from those of other tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Pages(ac.IterateDownloadCommand[str, str]):
    """The first item loses the database, where it is to."""

    limits = ac.Limits(threads=3, batch_size=3)
    _away: Away | None = None

    async def iterate(self):
        return ["a", "b", "c", "d"]

    async def download(self, item: str) -> str:
        if self._away is not None:
            self._away.now = True
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        pass


def lost(run: Any, away: Away, **options: Any) -> ac.RunResult:
    """A run that loses its database while items are in hand, and cannot be closed."""
    command = Pages()
    command._away = away
    with pytest.raises(ac.RunFailed, match="The end of the run could not be recorded") as raised:
        run(command, recorder=DatabaseRecorder(batch_size=3, outage_budget=0.1), **options)
    away.now = False
    return raised.value.result


def test_ends_that_could_not_be_stored_are_no_crashes_of_the_items_in_hand(run_on_lanes: Any, away: Away) -> None:
    lost(run_on_lanes, away)
    for _ in range(3):
        assert Run.objects.get().status == "running"
        lost(run_on_lanes, away, resume=True)
    result = run_on_lanes(Pages(), resume=True)
    assert row_of(result).done == 4
    assert set(RunItem.objects.values_list("state", "crashes")) == {("done", 0)}
    assert not RunLog.objects.filter(message__contains="without a word").exists()


def test_who_notices_such_a_run_stores_its_end(run_on_lanes: Any, away: Away, folder: Path) -> None:
    result = lost(run_on_lanes, away)
    assert sweep("default") == 1
    row = Run.objects.get()
    assert (row.status, row.claimed, row.accounts) == ("failed", 0, True)
    assert "connection refused" in row.error
    assert row.finished is not None
    assert row.finished >= row.started
    assert list(folder.rglob("*.json")) == []
    assert run_on_lanes(Pages(), resume=True).run_id == result.run_id


def test_a_crash_is_one_whatever_was_left_by_others(run_on_lanes: Any, away: Away) -> None:
    result = lost(run_on_lanes, away)
    run_on_lanes(Pages(), resume=True)
    end_without_a_word(result.run_id, "x")
    assert sweep("default") == 1
    assert Run.objects.get().status == "crashed"


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"at": "today", "status": "succeeded"})])
def test_what_is_no_end_is_a_crash(run_on_lanes: Any, away: Away, folder: Path, text: str) -> None:
    lost(run_on_lanes, away)
    (kept,) = folder.rglob("*.json")
    kept.write_text(text)
    end_without_a_word(Run.objects.get().pk)
    assert sweep("default") == 1
    assert Run.objects.get().status == "crashed"


def test_a_folder_into_which_others_may_write_is_not_trusted(run_on_lanes: Any, away: Away, folder: Path) -> None:
    lost(run_on_lanes, away)
    (own,) = folder.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    assert sweep("default") == 0  # this process is its owner, and lives
