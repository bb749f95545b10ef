"""What waits to be written of a run's log: in order, bounded, and without a trace in the logging module."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from async_commander.engine.context import RunContext, run_entered
from async_commander.engine.limits import Limits, Retry
from async_commander.history import log_capture
from async_commander.history.log_capture import OWN_LOGGER, LogCapture
from async_commander.text.redactor import Redactor

own = logging.getLogger(OWN_LOGGER)


def made(verbosity: int = 1) -> tuple[LogCapture, RunContext]:
    context = RunContext(run_id=1, command="fetch", limits=Limits(), retry=Retry(), verbosity=verbosity)
    return LogCapture(context, Redactor()), context


@pytest.fixture
def capture() -> Iterator[LogCapture]:
    capture, context = made()
    with capture.attached(), run_entered(context):
        yield capture


def test_lines_come_in_the_order_of_their_logging(capture: LogCapture) -> None:
    for number, level in enumerate((logging.ERROR, logging.INFO, logging.ERROR, logging.WARNING)):
        own.log(level, "line %d", number)
    assert [line.message for line in capture.take()] == ["line 0", "line 1", "line 2", "line 3"]
    own.info("line 4")
    assert [line.message for line in capture.take()] == ["line 4"]


def test_the_oldest_of_the_least_important_are_dropped_and_counted(
    capture: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_capture, "RECORDS_HELD", 3)
    own.error("error 0")
    for number in range(3):
        own.info("info %d", number)
    own.warning("warning 0")
    for number in range(1, 3):
        own.error("error %d", number)
    *kept, last = [line.message for line in capture.take()]
    assert kept == ["error 0", "error 1", "error 2"]
    assert last.startswith("4 log records were dropped here")
    own.info("info 3")
    assert [line.message for line in capture.take()] == ["info 3"]


def test_a_full_capture_costs_no_more_than_an_empty_one(capture: LogCapture) -> None:
    class Compared(int):
        times = 0

        def __lt__(self, other: int) -> bool:
            Compared.times += 1
            return int(self) < int(other)

    records = [own.makeRecord(own.name, logging.INFO, __file__, 1, str(n), (), None) for n in range(10_100)]
    for record in records:
        record.levelno = Compared(logging.INFO)
        capture.emit(record)
    assert Compared.times < 5 * len(records)
    assert len(capture.take()) == 10_001


def test_the_level_of_the_run_s_own_logger_is_given_back() -> None:
    own.setLevel(logging.ERROR)
    try:
        (first, _), (second, _) = made(), made(verbosity=3)
        leave_first, leave_second = first.attached(), second.attached()
        leave_first.__enter__()
        assert own.level == logging.INFO
        leave_second.__enter__()
        assert own.level == logging.DEBUG
        leave_first.__exit__(None, None, None)
        assert own.level == logging.DEBUG
        leave_second.__exit__(None, None, None)
        assert own.level == logging.ERROR
    finally:
        own.setLevel(logging.NOTSET)


def test_a_logger_that_passes_nothing_on_is_heard_once() -> None:
    alone, child = logging.getLogger("shop_alone"), logging.getLogger("shop_alone.child")
    alone.propagate = False
    try:
        capture, context = made()
        with capture.attached(), run_entered(context):
            alone.warning("from itself")
            child.warning("from below")
        assert [line.message for line in capture.take()] == ["from itself", "from below"]
        assert alone.handlers == []
    finally:
        alone.propagate = True


@contextmanager
def no_handlers() -> Iterator[None]:
    """As in a project whose LOGGING names no handler for the root logger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


def test_what_python_prints_without_a_run_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    (first, context), (second, _) = made(), made()
    with no_handlers(), first.attached(), second.attached(), run_entered(context):
        logging.getLogger("shop").warning("the shelf is empty")
        logging.getLogger("shop").info("not that important")
        own.error("the terminal tells this, or not")
    assert capsys.readouterr().err == "the shelf is empty\n"
    assert "the shelf is empty" in [line.message for line in first.take()]


def test_what_the_projects_own_handlers_get_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    capture, context = made()
    shop, silent = logging.getLogger("shop_with_handler"), logging.NullHandler()
    shop.addHandler(silent)
    try:
        with no_handlers(), capture.attached(), run_entered(context):
            shop.warning("the shelf is empty")
    finally:
        shop.removeHandler(silent)
    assert capsys.readouterr().err == ""
