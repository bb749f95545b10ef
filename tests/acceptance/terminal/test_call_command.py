"""`call_command("arun", …)`: the same commands, called by code inside a test's transaction."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from async_commander.command.registry import get_commands
from async_commander.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def commands(settings) -> None:
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.acceptance.terminal.called"]}


def called(*args: object, **options: object) -> str:
    out = io.StringIO()
    call_command("arun", *args, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_arguments_go_by_position_or_by_keyword() -> None:
    assert called("count", "3", "--stride", "2") == "0 2 4\n"
    assert called("count", until=3, stride=2) == "0 2 4\n"
    assert called("count", 3, threads=7, verbosity=0) == "0 1 2\n"
    assert [run.trigger for run in Run.objects.all()] == ["call"] * 3
    assert Run.objects.latest().limits["threads"] == 7


def test_the_result_comes_as_json_where_it_is_asked_for() -> None:
    assert json.loads(called("count", 3, json=True))["value"] == [0, 1, 2]


def test_a_run_that_is_named_goes_before_the_class_s_own_default_to_resume() -> None:
    with pytest.raises(CommandError, match="There is no run 99"):
        called("resuming", "--resume-run", "99")
    called("resuming", "--progress", "none")


def test_a_failed_run_raises_command_error_with_its_cause() -> None:
    with pytest.raises(CommandError, match="at least 0") as raised:
        called("count", -1)
    assert raised.value.returncode == 1
    assert isinstance(raised.value.__cause__, ArithmeticError)
    assert Run.objects.get().status == "failed"


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        (["cuont", 1], {}, "Did you mean count"),
        (["count"], {}, "missing 1 required argument: 'until'"),
        (["count", "x"], {}, "found 'x', allowed: a whole number"),
        (["count"], {"until": "x"}, "found 'x', allowed: a whole number"),
        (["count", 1], {"threads": 0}, "threads=0"),
        (["count", 1, "--wrong"], {}, "unknown option --wrong"),
    ],
)
def test_a_mistake_raises_command_error_before_anything_is_run(
    args: list[object], options: dict[str, object], said: str
) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        called(*args, **options)
    assert raised.value.returncode in {1, 2}
    assert not Run.objects.exists()


def test_an_unknown_keyword_is_an_error_as_django_s() -> None:
    with pytest.raises(TypeError, match="Unknown option"):
        called("count", 1, wrong=2)


def test_nothing_is_left_after_the_test_s_transaction_a() -> None:
    called("count", 1)
    assert Run.objects.count() == 1


def test_nothing_is_left_after_the_test_s_transaction_b() -> None:
    assert Run.objects.count() == 0


def test_a_check_tells_how_many_commands_it_saw() -> None:
    assert called(check=True).endswith(f"Commands checked: {len(get_commands())}.\n")
