"""What the project's own log handlers get: one line a message, no escape sequences, no secrets, and the exception."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import async_commander as ac
from async_commander.management.log_lines import log_shown
from async_commander.models import RunLog
from async_commander.runner.reporting import Silent

SECRET = "hunter2-s3cret"
EVIL = "\x1b[2Jgone\x1b]0;title\x07\n2026-01-31 12:00:00 ERROR forged\r\nanother\x9b1m \u202e https://bob:pw@h/"


class Told(Silent):
    """A reporter that remembers its notes."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def message(self, text: str, level: int = logging.INFO) -> None:
        self.told.append(f"{logging.getLevelName(level)} {text}")


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(logging.Formatter().format(record))


@pytest.fixture(params=["", "async_commander", "async_commander.run"])
def heard(request: pytest.FixtureRequest) -> Iterator[Heard]:
    handler, logger = Heard(), logging.getLogger(request.param)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


class Says(ac.AsyncCommand):
    api_token: str = ""

    async def handle(self) -> None:
        self.say(self.log)
        self.say(self.log.getChild("child"))
        self.say(self.log.getChild("child").getChild("grand\x1b[31mchild"))

    def say(self, log: logging.Logger) -> None:
        log.warning("got %s and %d", EVIL, 5)
        log.warning(f"said {EVIL}")  # noqa: G004 - as people do
        log.warning("by name %(text)s", {"text": EVIL})
        log.warning("with %s", ValueError(EVIL), extra={"url": EVIL, "deep": {"url": [EVIL]}})
        log.warning("token %s in %r", self.api_token, {"a": self.api_token})
        try:
            raise httpx.ReadError(f"{EVIL} {self.api_token}")
        except httpx.ReadError:
            log.exception("caught", stack_info=True)


def test_no_record_of_the_run_forges_a_line_or_moves_a_terminal(run: Any, heard: Heard) -> None:
    run(Says(api_token=SECRET))
    ours = [each for each in heard.records if ".Says" in each.name]
    assert len(ours) == 18
    for record in ours:
        everything = f"{logging.Formatter().format(record)} {vars(record)!r} {record.exc_info and record.exc_info[1]!r}"
        for sign in ("\x1b", "\x9b", "\u202e", SECRET, "bob:pw"):
            assert sign not in everything
        assert "\n" not in record.getMessage()
        assert not [line for line in logging.Formatter().format(record).splitlines() if line.startswith("2026-")]
    assert ours[0].getMessage().startswith("got gone\\n2026-01-31 12:00:00 ERROR forged\\nanother")


def test_a_template_stays_a_template(run: Any, heard: Heard) -> None:
    run(Says(api_token=SECRET))
    first, said, named, other, token, caught = [each for each in heard.records if each.name.endswith(".Says")]
    assert (first.msg, first.args[1]) == ("got %s and %d", 5)
    assert said.args == ()
    assert (named.msg, set(named.args)) == ("by name %(text)s", {"text"})
    assert other.msg == "with %s"
    assert token.msg == "token %s in %r"
    kind, error, trace = caught.exc_info
    assert (kind.__name__, kind.__module__) == ("ReadError", "httpx")
    assert isinstance(error, kind)
    assert trace.tb_frame.f_code.co_name == "say"


def test_the_runs_own_log_keeps_the_lines(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.log.info("a table:\n  %s", "one\n  two")

    run(Command())
    assert RunLog.objects.get(message__startswith="a table").message == "a table:\n  one\n  two"


def test_what_holds_nothing_of_that_is_passed_on_as_it_was_made(run: Any, heard: Heard) -> None:
    error, given = ValueError("plain"), {"a": 1}

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.log.getChild("x").error("plain %s %d", given, 3, exc_info=error)

    run(Command())
    record = next(each for each in heard.records if each.msg == "plain %s %d")
    assert record.args == (given, 3)
    assert record.args[0] is given
    assert record.exc_info[1] is error


def test_a_run_leaves_no_trace_in_the_logging_module(run: Any) -> None:
    def state() -> list[Any]:
        names = ["", "async_commander", "async_commander.run", f"async_commander.run.{Says.__name__}"]
        return [(list(each.handlers), list(each.filters), each.level) for each in map(logging.getLogger, names)]

    before = state()
    run(Says(api_token=SECRET))
    assert state() == before


class Fails(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(max_failures=None)
    retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)
    api_token: str = ""

    async def iterate(self):
        return ["fine", "a 100% late one", f"b\n{EVIL}", "c"]

    async def download(self, item: str) -> str:
        if item.startswith("a"):
            raise TimeoutError(f"{EVIL} {self.api_token}")
        if item.startswith(("b", "c")):
            raise type("Odd%sError", (ValueError,), {})("no 100% good")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


@pytest.mark.parametrize("verbosity", [1, 3])
def test_each_kind_of_item_errors_has_its_template_and_its_exception(run: Any, heard: Heard, verbosity: int) -> None:
    run(Fails(api_token=SECRET), verbosity=verbosity)
    errors = [each for each in heard.records if each.levelno == logging.ERROR]
    assert sorted(str(each.msg) for each in errors) == [
        "%s failed in attempt %d, for good: Odd%%sError: %s%s",
        "%s failed in attempt %d, for good: Odd%%sError: %s%s",
        "%s failed in attempt %d, for good: TimeoutError: %s%s",
    ]
    assert sorted(each.exc_info[0].__name__ for each in errors) == ["Odd%sError", "Odd%sError", "TimeoutError"]
    again = [each for each in heard.records if " failed in attempt 1: " in each.getMessage()]
    assert [bool(each.exc_info) for each in again] == [verbosity == 3]
    for record in heard.records:
        assert "\n" not in record.getMessage()
        raised = record.exc_info and record.exc_info[1]
        assert SECRET not in f"{logging.Formatter().format(record)} {vars(record)} {raised!r}"
    kept = [line.message for line in RunLog.objects.filter(level=logging.ERROR)]
    assert [("Traceback" in message) for message in kept] == [verbosity == 3] * 3


def test_a_failed_run_is_logged_with_its_exception_and_a_template_of_its_kind(run: Any, heard: Heard) -> None:
    class Command(ac.AsyncCommand):
        number = 0

        async def handle(self) -> None:
            raise (LookupError if self.number else ValueError)(f"no\n{EVIL}")

    for number in range(2):
        command = Command()
        type(command).number = number
        with pytest.raises(ac.RunFailed):
            run(command)
    failed = [each for each in heard.records if "run failed" in str(each.msg)]
    assert [each.msg for each in failed] == ["The run failed: ValueError: %s", "The run failed: LookupError: %s"]
    assert [each.exc_info[0].__name__ for each in failed] == ["ValueError", "LookupError"]
    assert all("\n" not in each.getMessage() for each in failed)
    assert not RunLog.objects.filter(message__startswith="The run failed", message__contains="Traceback").exists()


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (0, []),
        (1, ["warning", "error", "critical"]),
        (2, ["info", "warning", "error", "critical"]),
        (3, ["debug", "info", "warning", "error", "critical"]),
    ],
)
@pytest.mark.parametrize("child", ["", "child"])
def test_the_terminal_shows_what_the_command_says_by_its_verbosity(
    run: Any, verbosity: int, shown: list[str], child: str
) -> None:
    class Command(ac.AsyncCommand):
        api_token: str = ""

        async def handle(self) -> None:
            log = self.log.getChild(child) if child else self.log
            for level in ("debug", "info", "warning", "error", "critical"):
                getattr(log, level)("%s of %s", level, self.api_token)
            logging.getLogger("shop").error("another logger's")

    told: list[str] = []
    name = f"{Command.__module__}.{Command.__qualname__}"
    with log_shown(name, verbosity, Told(told)):
        run(Command(api_token=SECRET), verbosity=verbosity)
    assert told == [f"{level.upper()} {level} of ********" for level in shown]


def test_an_exception_is_shown_in_short_unless_more_is_asked_for(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            try:
                raise ValueError("why")
            except ValueError:
                self.log.exception("caught")

    name = f"{Command.__module__}.{Command.__qualname__}"
    for verbosity, shown in ((1, "caught\nValueError: why"), (3, "caught\nTraceback (most recent call last):")):
        told: list[str] = []
        with log_shown(name, verbosity, Told(told)):
            run(Command(), verbosity=verbosity)
        assert told[0].startswith(f"ERROR {shown}")
