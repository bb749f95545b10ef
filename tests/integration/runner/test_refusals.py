"""What a run refuses, by its name and with the remedy: before it begins, or where a hook returns it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError

import async_commander as ac
from async_commander.history import database_recorder
from async_commander.models import Run
from async_commander.runner.reporting import Silent

from .failing import Items, failed
from .ledger import row_of


class Counted(Items):
    count: int = 2


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("iterate", 5, r"Command\.iterate\(\) returned int 5; allowed: a queryset, or another iterable"),
        ("iterate", "text", r"Command\.iterate\(\) returned str 'text'; allowed: a queryset"),
        ("iterate", None, r"Command\.iterate\(\) returned NoneType None; allowed: a queryset"),
        ("total", "many", r"Command\.total\(\) returned str 'many'; allowed: the number of items"),
        ("item_key", 7, r"Command\.item_key\(\) returned int 7; allowed: a text that is not empty"),
        ("throttle_key", 7, r"Command\.throttle_key\(\) returned int 7; allowed: a text, or None"),
        ("lifespan", None, r"Command\.lifespan\(\) returned NoneType None; allowed: an async context manager"),
        ("http_client", 3, r"Command\.http_client\(\) returned int 3; allowed: an async context manager"),
    ],
)
def test_a_hook_that_returns_a_wrong_kind_of_thing_is_named(run: Any, hook: str, value: Any, message: str) -> None:
    written = {
        "iterate": lambda self: value,
        "total": lambda self: value,
        "item_key": lambda self, item: value,
        "throttle_key": lambda self, item: value,
        "lifespan": lambda self: value,
        "http_client": lambda self: value,
    }[hook]
    command = type("Command", (Items,), {hook: written})
    with pytest.raises(ac.RunFailed, match=message) as raised:
        run(command())
    assert isinstance(raised.value.__cause__, ac.InvalidCommand)
    assert row_of(raised.value.result).status == "failed"


def test_should_retry_that_returns_a_wrong_kind_of_thing_is_named(run: Any) -> None:
    class Command(Items):
        def should_retry(self, error: Exception) -> Any:
            return "perhaps"

        def fail(self, item: str) -> None:
            raise TimeoutError

    result = failed(run, Command())
    assert "should_retry() returned str 'perhaps'; allowed: True or False" in result.error
    row_of(result)


def test_a_coroutine_that_was_not_awaited_is_named(run: Any) -> None:
    made: list[Any] = []

    class Command(Items):
        def download(self, item: str) -> Any:
            made.append(self.later(item))
            return made[-1]

        async def later(self, item: str) -> str:
            return item

    result = failed(run, Command(), threads=1)
    for coroutine in made:
        coroutine.close()
    assert "Command.later(), which was not awaited; allowed: one finished value" in result.error


def test_a_hook_with_a_wrong_signature_is_refused_before_there_is_a_run(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        async def iterate(self):
            return []

        async def download(self) -> str:
            return ""

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"download\(\) is `async def download\(self\)"):
        Command()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads=0: at least 1"),
        ({"threads": "many"}, "threads"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"max_failures": "lots"}, "max_failures"),
        ({"max_body": "64 pounds"}, "64 pounds"),
        ({"max_items": 0}, "max_items=0: a whole number from 1"),
        ({"grace": -1}, "grace=-1: at least 0 seconds"),
        ({"database": "nowhere"}, "There is no database 'nowhere'; DATABASES has default"),
    ],
)
def test_a_value_out_of_range_is_refused_before_there_is_a_run(run: Any, options: Any, message: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=message):
        run(Items(), **options)
    assert not Run.objects.exists()


def test_misspelt_arguments_are_refused_with_a_suggestion(run: Any) -> None:
    with pytest.raises(TypeError, match=r"'cuont'\. Did you mean 'count'"):
        run("pages", cuont=3)
    for command in ("pages", Items()):
        with pytest.raises(TypeError, match=r"'treads'\. Did you mean 'threads'"):
            run(command, treads=3)
    with pytest.raises(TypeError, match="has its arguments already; count cannot be given again"):
        run(Counted(), count=3)
    for nothing in (Items.iterate, dict, object(), None):
        with pytest.raises(TypeError, match="is a name, a class or an instance of AsyncCommand, not"):
            run(nothing)
    with pytest.raises(ac.CommandNotFound, match="Did you mean pages"):
        run("pagse")


def test_resume_and_a_number_to_resume_contradict_each_other(run: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="resume=True and resume_run contradict each other"):
        run(Items(), resume=True, resume_run=1)
    assert not Run.objects.exists()


def test_a_command_serves_one_run(run: Any) -> None:
    command = Items()
    first = run(command)
    with pytest.raises(ac.InvalidCommand, match="a command serves one run; make a new one"):
        run(command)
    assert row_of(first)
    assert Run.objects.count() == 1


def test_a_database_that_cannot_be_configured_so_is_named(run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        raise ImproperlyConfigured("Pooling doesn't support persistent connections.")

    monkeypatch.setattr(database_recorder, "_connect", refuse)
    with pytest.raises(ac.AsyncCommanderError, match=r"DATABASES\['default'\] has it: Pooling .* No run was begun"):
        run_on_lanes(Items())
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"reporter": 3},
            r"^reporter=3: a Reporter is needed, and it has no started\(\), message\(\), item_failed",
        ),
        ({"reporter": Silent}, r"^reporter=.*Silent.*: a Reporter is needed, and that is a class: make an instance"),
        ({"recorder": "x"}, r"^recorder='x': a Recorder is needed, and it has no attach\(\)"),
        ({"max_items": 2**63}, r"^max_items=9223372036854775808: a whole number from 1 is needed"),
    ],
)
def test_what_no_run_can_be_told_to_is_refused_before_it_begins(run: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=told):
        run(Counted(), **given)
    assert not Run.objects.exists()


@pytest.mark.parametrize("value", ["dots", 3, True, b"bar"])
def test_a_progress_of_no_kind_is_refused_by_call_command_too(run: Any, value: Any) -> None:
    with pytest.raises(CommandError, match=r"^progress=.*: one of auto, bar, plain, none is needed\.$"):
        call_command("arun", "pages", progress=value)
    assert not Run.objects.exists()
