"""Log lines, figures and kinds of errors: what is kept of them, and that they add up."""

from __future__ import annotations

import importlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

import async_commander as ac
from async_commander.models import Run, RunBucket, RunErrorKind, RunItem, RunLog
from tests.testapp.models import Tag


class Letters(ac.IterateDownloadCommand[str, str]):
    letters = "abc"
    retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

    async def iterate(self):
        return list(self.letters)

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


def messages(**lookups: Any) -> list[str]:
    return list(RunLog.objects.filter(**lookups).order_by("id").values_list("message", flat=True))


def test_what_a_command_logs_is_kept_with_its_level_and_its_item(run: Any) -> None:
    class Command(Letters):
        letters = "a"

        async def iterate(self):
            self.log.warning("from %s", "iterate")
            yield "a"

        async def download(self, item: str) -> str:
            self.log.info("downloading %s", item)
            self.log.debug("not at this verbosity")
            return item

        def parse_and_save(self, item: str, payload: str) -> None:
            self.log.error("on a lane")

    result = run(Command())
    lines = RunLog.objects.filter(run_id=result.run_id, logger__startswith="async_commander.run.").order_by("id")
    key = RunItem.objects.get().key
    assert [(line.level, line.message, line.item_key) for line in lines] == [
        (logging.WARNING, "from iterate", None),
        (logging.INFO, "downloading a", key),
        (logging.ERROR, "on a lane", key),
    ]


def test_debug_lines_are_kept_on_request(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.log.debug("in detail")

    with caplog.at_level(logging.DEBUG, logger="async_commander"):
        run(Command(), verbosity=3)
        run(Command(), verbosity=1)
    assert messages(level=logging.DEBUG).count("in detail") == 1


def test_the_projects_own_loggers_are_kept_from_info(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            logging.getLogger("tests.shop").info("ours")

    with caplog.at_level(logging.INFO):
        run(Command())
    assert messages(logger="tests.shop") == ["ours"]


def test_libraries_are_kept_from_warning(
    run: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is what lies where libraries lie: httpx's own code logs here."""
    code = compile(
        "import logging\n"
        "def talk():\n"
        "    logging.getLogger('library').info('chat')\n"
        "    logging.getLogger('library').warning('hm')\n",
        str(Path(importlib.import_module("httpx").__file__ or "").with_name("talking.py")),
        "exec",
    )
    module = type(sys)("talking")
    exec(code, vars(module))

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            module.talk()

    with caplog.at_level(logging.INFO):
        run(Command())
    assert messages(logger="library") == ["hm"]


def test_log_calls_outside_of_the_run_are_not_kept(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None: ...

    logging.getLogger("tests.shop").error("before")
    run(Command())
    logging.getLogger("tests.shop").error("after")
    assert messages(logger="tests.shop") == []


def test_an_exception_is_logged_with_its_traceback(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            try:
                raise ValueError("caught")
            except ValueError:
                self.log.exception("but told")

    run(Command())
    told = messages(level=logging.ERROR)[0]
    assert told.startswith("but told\nTraceback")
    assert told.endswith("ValueError: caught")


def test_a_log_call_with_wrong_arguments_fails_nobody(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Command(ac.AsyncCommand):
        async def handle(self) -> int:
            self.log.warning("%d", "no number")
            return 1

    logging.getLogger("async_commander").propagate, before = False, logging.getLogger("async_commander").propagate
    try:
        assert run(Command()).value == 1
    finally:
        logging.getLogger("async_commander").propagate = before


def test_failures_of_items_are_logged(run: Any) -> None:
    class Command(Letters):
        async def download(self, item: str) -> str:
            if item == "b":
                raise TimeoutError("slow")
            return item

    run(Command())
    told = messages(message__startswith="b failed in attempt")
    assert [line.partition(":")[0] for line in told] == [
        "b failed in attempt 1",
        "b failed in attempt 2",
        "b failed in attempt 3, for good",
    ]


def test_figures_add_up_to_the_ledger(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Letters):
        letters = "abcdefghij"

        async def download(self, item: str) -> str:
            tries[item] += 1
            if item in "bd" and tries[item] == 1:
                raise TimeoutError("first time")
            if item == "c":
                raise ValueError("no good")
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == "e":
                raise KeyError("e")

    result = run(Command())
    row = Run.objects.get(pk=result.run_id)
    stages = {bucket.stage: bucket for bucket in RunBucket.objects.all()}
    assert (stages["download"].count, stages["download"].errors) == (12, 3)
    assert (stages["parse"].count, stages["parse"].errors) == (9, 1)
    assert stages["item"].count == row.done == 8
    assert all(sum(bucket.histogram) == bucket.count for bucket in stages.values())
    kinds = dict(RunErrorKind.objects.values_list("kind", "count"))
    assert kinds == {"TimeoutError": 2, "ValueError": 1, "KeyError": 1}
    assert {one.kind: one.count for one in result.errors} == kinds
    dead = RunItem.objects.filter(state="dead").values_list("error_kind", flat=True)
    assert sorted(dead) == ["KeyError", "ValueError"]
    assert row.accounts


def test_too_many_kinds_of_errors_share_one_name(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(max_failures=None)

        async def iterate(self):
            return range(260)

        async def download(self, item: int) -> int:
            raise type(f"Error{item}", (Exception,), {})(item)

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    with pytest.raises(ac.RunFailed, match="No item is done"):
        run(Command())
    assert RunErrorKind.objects.count() == 201
    assert RunErrorKind.objects.get(kind="(other kinds)").count == 60
    assert sum(RunErrorKind.objects.values_list("count", flat=True)) == 260


# -- secrets -------------------------------------------------------------------------------------------------------

CANARY = 'c4n4ry/with+odd "characters" & ü'
KEY = "k3y-of-the-parser-9271"


class Leaks(ac.IterateDownloadCommand[str, str]):
    """Tells its secret wherever it can."""

    api_token: str = ""
    number: int = 1

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--parser-key", default="")

    async def iterate(self):
        self.stdout.write(f"out {self.api_token} {self.options['parser_key']}")
        self.stderr.write(f"err {self.api_token}")
        self.log.warning("log %s", self.api_token)
        from urllib.parse import quote

        return [
            f"https://user:{quote(self.api_token, safe='')}@example.org/a?token={KEY}",
            f"https://example.org/b?api_key={quote(self.api_token)}&x=1",
            "fails",
            "fails late",
        ]

    async def download(self, item: str) -> str:
        if item == "fails":
            raise ValueError(f"no {self.api_token} {KEY}", {"Authorization": f"Bearer {self.api_token}"})
        if item == "fails late":
            raise RuntimeError("x" * 1_990 + self.api_token)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=item[:20]))

    async def cleanup(self) -> None:
        if self.number == 2:
            raise LookupError(f"cleanup {self.api_token} {KEY}")


@pytest.mark.parametrize("number", [1, 2])
def test_a_secret_is_nowhere_in_the_history(run: Any, number: int) -> None:
    command = Leaks(api_token=CANARY, parser_key=KEY, number=number)
    assert CANARY not in repr(command)
    said = ""
    try:
        result = run(command, verbosity=3)
    except ac.RunFailed as error:
        result, said = error.result, str(error)
    shown = repr(result) + said
    row = Run.objects.get(pk=result.run_id)
    assert "out ********" in row.output
    texts = [
        *(
            str(value)
            for model in (Run, RunErrorKind, RunLog)
            for line in model.objects.values()
            for value in line.values()
        ),
        *(
            str(value)
            for line in RunItem.objects.values("label", "error", "reason", "error_kind")
            for value in line.values()
        ),
        shown,
    ]
    for text in texts:
        for spelling in (CANARY, KEY, "c4n4ry", repr(CANARY)[1:-1]):
            assert spelling not in text, text[:300]


def test_what_is_no_secret_in_spite_of_its_name_is_stored(run: Any) -> None:
    class Command(Letters):
        sort_key: Annotated[str, ac.Option(secret=False)] = ""
        group_key: Annotated[str, ac.Option(secret=False, identity=False)] = ""

        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("--parser-key", default="")

    run(Command(sort_key="name", group_key="https://bob:pw@example.org/", parser_key=KEY))
    row = Run.objects.get()
    assert row.parameters == {"sort_key": "name"}
    assert row.options == {"parser_key": "********", "group_key": "https://********@example.org/"}


def test_a_secret_makes_no_other_identity_and_is_not_needed_to_resume(run: Any) -> None:
    class Command(Letters):
        api_token: str = ""
        broken = True

        async def iterate(self):
            yield "a"
            if self.broken:
                raise ValueError("the source broke")

    with pytest.raises(ac.RunFailed) as raised:
        run(Command(api_token="first"))
    command = Command(api_token="another")
    command.broken = False
    assert run(command, resume=True).run_id == raised.value.result.run_id
    assert command.api_token == "another"


def test_a_command_that_takes_its_value_from_a_secret_does_not_store_it(run: Any) -> None:
    class Command(ac.AsyncCommand):
        api_token: str = ""

        async def handle(self) -> Any:
            return {"token": self.api_token, "nested": [f"x{self.api_token}y"]}

    result = run(Command(api_token=CANARY))
    assert result.value["token"] == CANARY
    assert Run.objects.get().value == {"token": "********", "nested": ["x********y"]}


# -- what the project's own handlers get ---------------------------------------------------------------------------


class Heard(logging.Handler):
    """A handler of the project's: keeps what it would write, and the records themselves."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(f"{logging.Formatter().format(record)} {vars(record).get('url')}")


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, root = Heard(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)


class Confiding(ac.AsyncCommand):
    api_token: str = ""

    async def handle(self) -> None:
        token = self.api_token
        self.log.warning("by argument %s", token)
        self.log.warning(f"by text {token}")  # noqa: G004 - as people do
        self.log.warning("by extra", extra={"url": f"https://example.org/?token={token}"})
        self.log.warning("%d does not fit", token)
        try:
            raise ValueError(f"no {token}")
        except ValueError:
            self.log.exception("by exception", stack_info=True)


def test_the_projects_handlers_are_told_no_secret_by_the_commands_own_logger(run: Any, heard: Heard) -> None:
    run(Confiding(api_token=CANARY))
    told = [text for text in heard.texts if "by " in text or "not fit" in text]
    assert len(told) == 5
    for text in told:
        for spelling in (CANARY, "c4n4ry", repr(CANARY)[1:-1]):
            assert spelling not in text
    assert "by argument ********" in told[0]
    assert "ValueError: no ********" in told[4]
    assert told[4].startswith("by exception\nTraceback")
    assert messages(message__startswith="by exception") == [told[4].split("\nStack (most")[0]]


def test_a_record_without_secrets_reaches_the_projects_handlers_as_it_was_made(run: Any, heard: Heard) -> None:
    class Command(ac.AsyncCommand):
        api_token: str = ""

        async def handle(self) -> None:
            try:
                raise ValueError("harmless")
            except ValueError:
                self.log.exception("page %s", 7, extra={"url": "https://example.org/"})

    run(Command(api_token=CANARY))
    record = next(record for record in heard.records if record.msg == "page %s")
    assert record.args == (7,)
    assert record.exc_info
    assert vars(record)["url"] == "https://example.org/"


def test_other_loggers_are_the_projects_own_business(run: Any, heard: Heard) -> None:
    class Command(ac.AsyncCommand):
        api_token: str = ""

        async def handle(self) -> None:
            logging.getLogger("tests.shop").error("told %s", self.api_token)

    run(Command(api_token=CANARY))
    assert f"told {CANARY} None" in heard.texts
    assert messages(logger="tests.shop") == ["told ********"]


def test_after_the_run_its_loggers_are_as_before(run: Any, heard: Heard) -> None:
    command = Confiding(api_token=CANARY)
    run(command)
    own = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("async_commander")]
    assert len(own) > 1
    assert not any(logger.filters for logger in own)
