"""What no database takes costs nobody else's line, and leaves a line of its own."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError

import async_commander as ac
from async_commander.history import notes as notes_module
from async_commander.history.lease import take_over
from async_commander.history.notes import write_notes
from async_commander.history.recorder import LogLine, Notes, Slice
from async_commander.models import Run, RunBucket, RunErrorKind, RunLog
from async_commander.results import ErrorKind

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def line(message: str, **others: Any) -> LogLine:
    return LogLine(**{"at": NOW, "level": 20, "logger": "shop", "message": message, **others})


def messages() -> list[str]:
    return list(RunLog.objects.order_by("id").values_list("message", flat=True))


@pytest.fixture
def ownership(transactional_db: None) -> Any:
    run = Run.objects.create(command="fetch", identity="0" * 64, status="running")
    return take_over("default", run.pk, seen=0)


def test_names_that_no_database_takes_are_kept_as_others(run: Any) -> None:
    """NUL, lone surrogates, escapes, and levels and names beyond all bounds, on every kind of row."""
    odd = type("Err\x1b[31mor" + "x" * 300, (Exception,), {})

    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(max_failures=None)

        async def iterate(self):
            return ["fine", "a\x00b \ud83d", "b" * 300]

        async def download(self, item: str) -> str:
            for number in range(20):
                logging.getLogger("shop").warning("fine %d", number)
            logging.getLogger("sh\x00op \ud83d\x1b[31m").warning("odd name")
            logging.getLogger("shop." + "x" * 300).warning("long name")
            logging.getLogger("shop").log(10**9, "high")
            logging.getLogger("shop").warning("a\x00b \ud83d \x1b[31m")
            self.log.getChild("\x00\ud83d").error("of a child")
            if item != "fine":
                raise odd("no\x00 \ud83d")
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    result = run(Command())
    assert result.counts["dead"] == 2
    told = messages()
    assert sum(message.startswith("fine ") for message in told) == 60
    for message in ("odd name", "long name", "high", "of a child"):
        assert told.count(message) == 3
    assert not [message for message in told if "issing here" in message]
    assert RunErrorKind.objects.get().count == 2
    assert RunErrorKind.objects.get().kind.startswith("Errorxx")
    assert RunBucket.objects.filter(stage="download", count=3).exists()


@pytest.mark.parametrize("at", [0, 77, 477])
def test_of_many_lines_the_refused_one_is_missing_alone_and_that_is_said(ownership: Any, at: int) -> None:
    lines = [line(f"line {number}") for number in range(478)]
    lines[at] = line("refused", level="no level")
    notes = Notes(logs=lines, errors=[ErrorKind("ValueError", 3)], slices=[Slice(NOW, 10, "item", 1, 0, 5, [1])])
    write_notes(ownership, notes, {})
    *kept, last = messages()
    assert kept == [f"line {number}" for number in range(478) if number != at]
    assert last == "Missing here: 1 log records, for the database does not take them (TypeError)."
    assert (RunErrorKind.objects.get().count, RunBucket.objects.get().count) == (3, 1)


def test_figures_that_are_refused_are_missing_alone(ownership: Any) -> None:
    errors = [ErrorKind(f"Error{number}", 2**70 if number == 3 else 1) for number in range(8)]
    slices = [Slice(NOW, 10, f"stage {number}", 2**70 if number < 2 else 1, 0, 5, [1]) for number in range(8)]
    write_notes(ownership, Notes(logs=[line("fine")], errors=errors, slices=slices), {})
    assert (RunErrorKind.objects.count(), RunBucket.objects.count()) == (7, 6)
    first, *rest = messages()
    assert first == "fine"
    assert sorted(text.partition(",")[0] for text in rest) == [
        "Missing here: 1 kinds of errors",
        "Missing here: 2 figures of a stage",
    ]


def test_a_lost_connection_is_no_fault_of_a_row(ownership: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError(2006, "server has gone away")

    monkeypatch.setattr(notes_module, "_write_logs", away)
    with pytest.raises(OperationalError):
        write_notes(ownership, Notes(logs=[line("a"), line("b")]), {})
