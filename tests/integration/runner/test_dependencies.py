"""What a run depends on: earlier runs, compared exactly, asked for at the terminal, or run first."""

from __future__ import annotations

import io
import logging
from datetime import date, timedelta
from typing import Annotated, Any, ClassVar

import pytest
from django.utils import timezone

import async_commander as ac
from async_commander.models import Run
from async_commander.runner import beginning, plan
from async_commander.runner.entry import drive_from_shell
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.signals import StopRequests
from async_commander.testing import InMemoryRecorder

HERE = __name__
done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


class Rosters(ac.IterateDownloadCommand[str, str]):
    """Ends as it is told to."""

    domain: str
    since: date = date(2026, 1, 1)
    quick: Annotated[bool, ac.Option(identity=False)] = False
    ends: ClassVar[str] = "succeeded"

    async def iterate(self):
        return ["a", "b"]

    async def download(self, item: str) -> str:
        if self.ends == "failed" or (self.ends == "partial" and item == "b"):
            raise ValueError("it broke")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...

    async def cleanup(self) -> None:
        done.append(f"Rosters {self.domain}")


class Posts(ac.AsyncCommand):
    domain: str = "bob"
    dependencies = [ac.DependsOn(Rosters, domain=lambda command: command.domain)]

    async def handle(self) -> None:
        done.append(f"Posts {self.domain}")


def refused(run: Any, command: Any, **options: Any) -> str:
    with pytest.raises(ac.MissingDependency) as raised:
        run(command, **options)
    return str(raised.value)


def test_a_missing_run_is_named_with_its_parameters_and_the_line_that_runs_it(run: Any) -> None:
    told = refused(run, Posts, domain="it's me")
    assert f"Posts depends on a run that succeeded, and there is none: {HERE}.Rosters with domain=" in told
    assert "there was no run with these parameters" in told
    assert f"Run first: manage.py arun {HERE}.Rosters 'it'\"'\"'s me'. " in told
    assert "--run-dependencies" in told
    assert "--ignore-dependencies" in told
    assert not Run.objects.exists()


def test_a_run_that_succeeded_satisfies_it_whatever_its_other_parameters_and_options(run: Any) -> None:
    run(Rosters, domain="bob", since="2026-02-02", quick=True)
    assert run(Posts).status == "succeeded"


@pytest.mark.parametrize("other", ["bobby", "bo", "b.b", "BOB", " bob", "bob ", "", ".*", "[b]ob"])
def test_only_exactly_equal_parameters_satisfy_it(run: Any, other: str) -> None:
    run(Rosters, domain=other)
    assert "domain='bob'" in refused(run, Posts)
    run(Rosters, domain="bob")
    assert run(Posts).status == "succeeded"


def test_each_instance_has_its_own_values(run: Any) -> None:
    run(Rosters, domain="ann")
    assert run(Posts, domain="ann").status == "succeeded"
    assert "domain='bob'" in refused(run, Posts)
    assert run(Posts, domain="ann").status == "succeeded"
    assert callable(Posts.dependencies[0].parameters["domain"])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"test": True}, "was a trial"),
        ({"max_items": 1}, "was cut by --max-items"),
    ],
)
def test_a_run_that_was_no_whole_one_does_not_satisfy_it(run: Any, asked: dict[str, Any], why: str) -> None:
    earlier = run(Rosters, domain="bob", **asked)
    assert f"(run {earlier.run_id} {why})" in refused(run, Posts)
    run(Rosters, domain="bob")
    run(Rosters, domain="bob", **asked)
    assert run(Posts).status == "succeeded"


def test_a_run_that_failed_or_was_partial_does_not_satisfy_it(run: Any, monkeypatch: Any) -> None:
    for ends in ("failed", "partial"):
        monkeypatch.setattr(Rosters, "ends", ends)
        try:
            number = run(Rosters, domain="bob").run_id
        except ac.RunFailed as error:
            number = error.result.run_id
        assert f"(run {number} is {ends})" in refused(run, Posts)
    Run.objects.update(status="succeeded", dry_run=True)
    assert f"(run {number} was a dry run)" in refused(run, Posts)


def test_a_run_may_be_too_old(run: Any) -> None:
    class Daily(Posts):
        dependencies = [ac.DependsOn(Rosters, domain="bob", within=timedelta(days=1))]

    earlier = run(Rosters, domain="bob").run_id
    assert run(Daily).status == "succeeded"
    Run.objects.filter(pk=earlier).update(finished=timezone.now() - timedelta(days=2, hours=1))
    told = refused(run, Daily)
    assert "with domain='bob' within 1 day (run" in told
    assert f"(run {earlier} ended 2 days 1 hour" in told
    run(Rosters, domain="bob")
    assert run(Daily).status == "succeeded"


def test_however_long_a_time_may_be(run: Any) -> None:
    class Patient(Posts):
        dependencies = [ac.DependsOn(Rosters, domain="bob", within=timedelta.max)]

    assert "within 999,999,999 days" in refused(run, Patient)
    run(Rosters, domain="bob")
    assert run(Patient).status == "succeeded"


class Typed(ac.AsyncCommand):
    day: date
    size: float = 1.0
    tags: list[str] = []

    async def handle(self) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        {"day": date(2026, 1, 31)},
        {"day": "2026-01-31", "size": 1, "tags": ("a", "b")},
        {"day": lambda command: date(2026, 1, 31), "tags": lambda command: ["a", "b"]},
        {"size": 1.0},
        {},
    ],
)
def test_values_are_compared_as_the_other_command_reads_them(run: Any, given: dict[str, Any]) -> None:
    class Needs(Posts):
        dependencies = [ac.DependsOn(Typed, given)]

    refused(run, Needs)
    run(Typed, day="2026-01-30", size=2, tags=["b", "a"])
    if given:
        refused(run, Needs)
    run(Typed, day="2026-01-31", size=1, tags=["a", "b"])
    assert run(Needs).status == "succeeded"


def test_the_old_form_works(run: Any) -> None:
    class Old(Posts):
        dependencies = [("pages", {"count": lambda x: len(x.parameters["domain"])}), (Rosters,)]

    told = refused(run, Old)
    assert "pages with count=3" in told
    assert "Run first: manage.py arun pages --count 3; then manage.py arun" in told
    assert told.endswith("Rosters DOMAIN. Or let that be done by --run-dependencies (run_dependencies=True in code), "
                         "or begin all the same by --ignore-dependencies.")  # fmt: skip
    run("pages", count=3)
    run(Rosters, domain="anybody")
    assert run(Old).status == "succeeded"


def test_an_argument_that_is_new_since_does_not_matter_where_it_has_its_default(run: Any) -> None:
    run(Rosters, domain="bob")
    Run.objects.update(parameters={"domain": "bob"})

    class Since(Posts):
        dependencies = [ac.DependsOn(Rosters, domain="bob", since="2026-01-01")]

    class Later(Posts):
        dependencies = [ac.DependsOn(Rosters, domain="bob", since="2026-01-02")]

    assert run(Since).status == "succeeded"
    refused(run, Later)


@pytest.mark.parametrize("options", [{"ignore_dependencies": True}, {"test": True}, {"recorder": InMemoryRecorder()}])
def test_nothing_is_asked_where_it_is_ignored_in_a_trial_and_without_a_history(run: Any, options: Any) -> None:
    assert run(Posts, **options).status == "succeeded"


def test_the_row_says_that_nothing_was_looked_at(run: Any) -> None:
    ignoring = Run.objects.get(pk=run(Posts, ignore_dependencies=True).run_id)
    assert ignoring.options == {"ignore_dependencies": True}
    assert ignoring.again().status == "succeeded"


def test_yes_goes_on_and_says_what_is_missing(run: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "async_commander.run"):
        assert run(Posts, yes=True).status == "succeeded"
    assert "with domain='bob'" in caplog.text
    assert "It begins all the same: --yes was given." in caplog.text


# -- what cannot be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dependency", "told"),
    [
        (ac.DependsOn("pagse"), "DependsOn('pagse'): there is no command 'pagse'. Did you mean pages?"),
        (ac.DependsOn("pages", cuont=3), "'cuont' is no parameter of it; did you mean 'count'?"),
        (ac.DependsOn("pages", colour=3), "'colour' is no parameter of it; allowed: count"),
        (ac.DependsOn(Rosters, quick=True), "'quick' is outside of the identity of its runs; allowed: domain, since"),
        (ac.DependsOn("pages", count="many"), "'count': found 'many', allowed: a whole number"),
        (ac.DependsOn("pages", count=lambda c: "many"), "'count': found 'many', allowed: a whole number"),
        (ac.DependsOn("pages", count=lambda c: c.nothing), "the function for 'count' fails: AttributeError"),
        (ac.DependsOn(dict), "builtins.dict is no command"),
    ],
)
def test_what_cannot_be_used_is_named(run: Any, dependency: ac.DependsOn, told: str) -> None:
    class Wrong(Posts):
        dependencies = [dependency]

    with pytest.raises(ac.InvalidCommand) as raised:
        run(Wrong)
    assert told in str(raised.value)
    assert "Wrong.dependencies: DependsOn(" in str(raised.value)
    assert run(Wrong, ignore_dependencies=True).status == "succeeded"


def test_a_function_that_is_asynchronous_is_refused(run: Any) -> None:
    async def domain(command: Any) -> str:
        return "bob"

    class Wrong(Posts):
        dependencies = [ac.DependsOn(Rosters, domain=domain)]

    with pytest.raises(ac.InvalidCommand, match="the function for 'domain' is asynchronous"):
        run(Wrong)


def test_running_and_ignoring_what_is_missing_contradict_each_other(run: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="run_dependencies and ignore_dependencies contradict each other"):
        run(Posts, run_dependencies=True, ignore_dependencies=True)


# -- run first ---------------------------------------------------------------------------------------------------------


class First(ac.AsyncCommand):
    region: str = "eu"

    async def handle(self) -> None:
        done.append(f"First {self.region}")


class Second(ac.AsyncCommand):
    dependencies = [ac.DependsOn(First, region="us")]

    async def handle(self) -> None:
        done.append("Second")


class Third(ac.AsyncCommand):
    dependencies = [
        ac.DependsOn(Second),
        ac.DependsOn(First, region="us"),
        ac.DependsOn(First),
        ac.DependsOn(Rosters, domain="x"),
    ]

    async def handle(self) -> None:
        done.append("Third")


def test_what_is_missing_is_run_first_in_order_and_each_once(run: Any, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, "async_commander.run"):
        assert run(Third, run_dependencies=True, user="ann", verbosity=0).status == "succeeded"
    assert done == ["First us", "Second", "Rosters x", "Third"]
    rows = list(Run.objects.order_by("pk").values_list("trigger", "user", "status", "parent"))
    assert rows == [*[("dependency", "ann", "succeeded", None)] * 3, ("call", "ann", "succeeded", None)]
    assert f"{HERE}.Third depends on {HERE}.Second: running that first." in caplog.text
    assert f"{HERE}.Second depends on {HERE}.First with region='us': running that first." in caplog.text

    done.clear()
    run(Third, run_dependencies=True)
    assert done == ["Third"]


def test_what_fails_first_ends_it(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Rosters, "ends", "failed")
    told = refused(run, Third, run_dependencies=True)
    failed = Run.objects.get(status="failed")
    assert (
        f"Rosters with domain='x', which {HERE}.Third depends on, was run first and is failed (run {failed.pk})" in told
    )
    assert "Third" not in done


def test_what_cannot_be_run_by_what_is_named_says_what_it_needs(run: Any) -> None:
    class Any_(Posts):
        dependencies = [ac.DependsOn(Rosters)]

    assert "cannot be run:" in refused(run, Any_, run_dependencies=True)
    assert "missing 1 required argument: 'domain'" in refused(run, Any_, run_dependencies=True)


class Stops(ac.AsyncCommand):
    stops: ClassVar[StopRequests]

    async def handle(self) -> None:
        self.stops.ask()


class After(Posts):
    dependencies = [ac.DependsOn(Stops)]


@pytest.mark.usefixtures("transactional_db")
def test_what_stops_the_run_before_stops_it_all() -> None:
    Stops.stops = StopRequests()
    result = drive_from_shell(After(), RunRequest(run_dependencies=True), Silent(), stops=Stops.stops)
    assert (result.status, result.run_id, result.command) == ("interrupted", None, f"{HERE}.After")
    assert list(Run.objects.values_list("command", flat=True)) == [f"{HERE}.Stops"]


class Month(ac.AsyncCommand):
    number: int

    async def handle(self) -> None:
        done.append(f"Month {self.number}")


Month.dependencies = [ac.DependsOn(Month, number=lambda command: command.number - 1)]


def test_a_command_may_depend_on_itself_with_other_parameters(run: Any) -> None:
    assert "Month with number=6" in refused(run, Month, number=7)
    run(Month, number=4, ignore_dependencies=True)
    run(Month, number=7, run_dependencies=True)
    assert done == ["Month 4", "Month 5", "Month 6", "Month 7"]


def test_a_chain_without_an_end_ends(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(plan, "DEEPEST", 5)
    assert "without an end" in refused(run, Month, number=7, run_dependencies=True)
    assert not done


class Egg(ac.AsyncCommand):
    async def handle(self) -> None: ...


class Hen(ac.AsyncCommand):
    dependencies = [ac.DependsOn(Egg)]

    async def handle(self) -> None: ...


Egg.dependencies = [ac.DependsOn(Hen)]


@pytest.mark.parametrize("options", [{}, {"run_dependencies": True}])
def test_a_circle_is_named(run: Any, options: dict[str, Any]) -> None:
    told = refused(run, Hen, **options)
    assert "need one another in a circle: " in told
    assert told.count(f"{HERE}.Hen") + told.count(f"{HERE}.Egg") >= 4
    assert not Run.objects.exists()
    run(Egg, ignore_dependencies=True)
    assert run(Hen).status == "succeeded"


# -- at a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize(
    ("typed", "begins"),
    [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False), ("os.exit\n", False)],
)
def test_a_person_is_asked(monkeypatch: Any, typed: str, begins: bool) -> None:
    async def line() -> str:
        return typed

    for module in (beginning, plan):
        monkeypatch.setattr(module, "a_person_is_there", lambda: True, raising=False)
    monkeypatch.setattr(beginning, "typed_line", line)
    shown = io.StringIO()
    request = RunRequest(trigger="terminal", stderr=shown)
    if begins:
        assert drive_from_shell(Posts(), request, Silent()).status == "succeeded"
    else:
        with pytest.raises(ac.MissingDependency):
            drive_from_shell(Posts(), request, Silent())
    assert "with domain='bob' (there was no run with these parameters)" in shown.getvalue()
    assert shown.getvalue().endswith(f"Begin the run of {HERE}.Posts all the same? [y/N] ")
    assert Run.objects.exists() == begins
