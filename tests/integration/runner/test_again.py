"""A run once more: from its row, and by its number."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Annotated, Any

import pytest
from django.core.management import CommandError, call_command

import async_commander as ac
from async_commander.models import Run
from tests.testapp.models import Page


class Fetch(ac.IterateDownloadCommand[int, int]):
    domain: str
    age: timedelta = timedelta(days=1)
    quick: Annotated[bool, ac.Option(identity=False)] = False
    api_token: str = ""

    test_parameters = {"domain": "x"}

    def add_arguments(self, parser) -> None:
        parser.add_argument("--pages", type=int, default=9)

    async def iterate(self):
        return [1, 2, 3]

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...

    async def cleanup(self) -> None:
        type(self).seen = (self.domain, self.age, self.quick, self.options["pages"], self.api_token, self.testing)  # type: ignore[attr-defined]


class Job(ac.AsyncCommand):
    number: int

    async def handle(self) -> int:
        return self.number * 2


def row(result: ac.RunResult) -> Run:
    return Run.objects.get(pk=result.run_id)


def test_a_row_runs_its_command_with_its_arguments_and_options(run: Any) -> None:
    first = row(run(Fetch, domain="example.org", age="2d", quick=True, pages=3, max_items=2))
    assert first.command_class is Fetch
    result = first.again()
    assert Fetch.seen == ("example.org", timedelta(days=2), True, 3, "", False)  # type: ignore[attr-defined]
    assert (result.run_id != first.pk, result.status, result.counts["done"]) == (True, "succeeded", 2)
    assert row(result).identity == first.identity

    assert first.again(quick=False, max_items=None, age=timedelta(0)).counts["done"] == 3
    assert Fetch.seen == ("example.org", timedelta(0), False, 3, "", False)  # type: ignore[attr-defined]


def test_it_has_what_the_run_returns(run: Any) -> None:
    assert row(run(Job, number=4)).again().value == 8


def test_a_secret_is_given_once_more(run: Any) -> None:
    first = row(run(Fetch, domain="x", api_token="s3cret"))
    with pytest.raises(ac.InvalidCommand, match=f"Run {first.pk} does not keep the value of api_token: give it again"):
        first.again()
    first.again(api_token="other")
    assert Fetch.seen[4] == "other"  # type: ignore[attr-defined]


def test_a_trial_is_a_trial_again(run: Any) -> None:
    first = row(run(Fetch, test=True))
    assert row(first.again()).testing
    assert not row(first.again(test=False)).testing
    assert not row(first.again(testing=False)).testing


@pytest.mark.asyncio
@pytest.mark.usefixtures("arun_db")
async def test_a_row_runs_on_a_running_loop() -> None:
    first = await ac.arun(Job, number=4)
    stored = await Run.objects.aget(pk=first.run_id)
    assert (await stored.aagain()).value == 8
    assert (await stored.aagain(number=5)).value == 10
    with pytest.raises(ac.AsyncCommanderError, match="cannot be used inside a running event loop"):
        stored.again()


def test_a_command_that_is_gone_is_named(run: Any) -> None:
    stored = Run(command="shop.gone.Command")
    with pytest.raises(ac.CommandNotFound, match=r"there is no command 'shop\.gone\.Command'"):
        stored.again()
    with pytest.raises(ac.CommandNotFound):
        Run(command="os.path").command_class  # noqa: B018


def test_by_its_number_it_is_a_new_run_too(run: Any) -> None:
    class Resuming(Fetch):
        option_defaults = {"resume": True}

    first = run(Resuming, domain="example.org", quick=True)
    again = run(Resuming, again=first.run_id)
    assert again.run_id != first.run_id
    assert Resuming.seen[:3] == ("example.org", timedelta(days=1), True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("more", [{"resume": True}, {"resume_run": 3}])
def test_going_on_and_beginning_again_contradict_each_other(run: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ac.InvalidCommand, match="and again contradict each other"):
        run(Fetch, again=run(Fetch, domain="x").run_id, **more)


def test_an_instance_has_its_arguments_already(run: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="again=1 brings the arguments: give the command's class or its name"):
        run(Job(number=1), again=1)


def test_a_run_of_another_command_is_not_begun_again(run: Any) -> None:
    first = run(Job, number=1)
    with pytest.raises(ac.InvalidCommand, match=f"Run {first.run_id} is one of .*Job: it cannot be resumed as .*Fetch"):
        run(Fetch, again=first.run_id)
    with pytest.raises(ac.InvalidCommand, match="There is no run 987654321"):
        run(Fetch, again=987654321)


@pytest.mark.django_db
def test_a_command_line_begins_a_run_again() -> None:
    quiet = {"stdout": io.StringIO(), "stderr": io.StringIO()}
    call_command("arun", "pages", count=2, max_items=1, **quiet)
    first = Run.objects.get()
    Page.objects.all().delete()
    call_command("arun", "pages", "--again", str(first.pk), **quiet)
    Page.objects.all().delete()
    call_command("arun", "pages", again=first.pk, max_items=2, **quiet)
    assert [(one.parameters["count"], one.done) for one in Run.objects.order_by("pk")] == [(2, 1), (2, 1), (2, 2)]
    with pytest.raises(CommandError, match="--resume-run and --again contradict each other"):
        call_command("arun", "pages", again=first.pk, resume_run=first.pk, **quiet)
