"""What the documentation of django_commander shows, with another import line."""

from __future__ import annotations

import io
import os
from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection

import async_commander as ac
from async_commander.command import registry
from async_commander.command.registry import get_commands
from async_commander.contrib.compat import django_commander
from async_commander.contrib.compat.django_commander import (
    BasicCommand,
    Command,
    CommandLog,
    DownloadIterateCommand,
    IterateDownloadCommand,
    MissingDependencyException,
    commands,
    log_command,
    run_command_async,
    test_commands,
)
from async_commander.exceptions import InvalidCommand
from async_commander.models import Run
from tests.testapp.models import Author, Effect, Page, Product

from .old_commands import process_category, squares

ROSTER = "name,party\nBob,a\nShelly,b\n"


@pytest.fixture(params=["on lanes", pytest.param("in a transaction", marks=pytest.mark.django_db)], autouse=True)
def kept(request: pytest.FixtureRequest, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test on connections of its own, and within a test's transaction; with old command files, and a cache."""
    if request.param == "on lanes":
        request.getfixturevalue("transactional_db")
    settings.STORAGES = {
        **settings.STORAGES,
        "kept": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path / "kept"}},
    }
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.integration.compat.old_commands"], "CACHE": "kept"}
    (tmp_path / "roster.csv").write_text(ROSTER)
    monkeypatch.chdir(tmp_path)


def typed(*line: str) -> str:
    out = io.StringIO()
    call_command(*line, stdout=out, stderr=io.StringIO())
    return out.getvalue()


# -- parameters, options, calls ----------------------------------------------------------------------------------------


def test_a_command_runs_by_name_with_values_by_position_and_returns_what_it_returns() -> None:
    Product.objects.create(sku="1", stock=7)
    Product.objects.create(sku="2", stock=7, name="processed")
    commands["process_category"](category=7).run()
    found = commands["scrapers_my_command"](7).run()
    assert [product.sku for product in found] == ["1"]
    assert commands["scrapers_my_command"](7, refresh_processed=True).run().count() == 2
    run = Run.objects.latest()
    assert (run.command, run.parameters, run.options["refresh_processed"]) == (
        "scrapers_my_command", {"category": 7}, True,
    )  # fmt: skip


def test_run_command_runs_it_from_the_terminal() -> None:
    typed("run_command", "process_category", "3", "--refresh_cache")
    assert Run.objects.latest().value.items() >= {"category": 3, "anew": True}.items()
    typed("run_command", "scrapers_my_command", "3", "--refresh_processed")
    assert Run.objects.latest().options["refresh_processed"] is True
    with pytest.raises(CommandError, match="found 'x', allowed: a whole number"):
        typed("run_command", "process_category", "x")


def test_what_it_fails_with_is_raised_and_kept() -> None:
    class Fails(BasicCommand):
        def run(self) -> None:
            raise ValueError("no good")

    with pytest.raises(ac.RunFailed, match="ValueError: no good"):
        Fails().run()
    log = CommandLog.objects.get()
    assert (log.status, log.error) == ("failed", "ValueError: no good")
    assert log.end_time is not None


def test_it_may_be_run_twice_and_knows_its_log() -> None:
    command = commands["process_category"](category=2)
    assert command.run()["log"] == command.log.pk
    first = command.log_id
    assert command.run()["log"] == command.log.pk == command.log_id != first
    assert (command.command.name, command.command.logs.count()) == ("process_category", 2)


def test_each_option_that_every_command_has_is_there() -> None:
    command = commands["process_category"](category=2, test=False)
    assert {"test": False, "refresh_cache": False, "ignore_dependencies": False}.items() <= command.options.items()
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'catgory'\. Did you mean 'category'"):
        commands["process_category"](catgory=2)
    with pytest.raises(TypeError, match="takes 1 values by position"):
        commands["scrapers_my_command"](2, 3)


class Kinds(BasicCommand):
    parameter_names = ["day", "mode", "tags"]

    @staticmethod
    def add_arguments(parser: Any) -> Any:
        from datetime import date

        parser.add_argument("day", type=date.fromisoformat, help="which day")
        parser.add_argument("--mode", choices=["full", "fast"], default="fast")
        parser.add_argument("--tags", nargs="*", default=[])
        parser.add_argument("--limit", type=int, default=5)

    def run(self) -> Any:
        return {**self.parameters, "limit": self.options["limit"]}


def test_parameters_are_checked_and_say_which_run_it_is() -> None:
    value = Kinds("2026-01-02", tags=["a"], limit=2).run()
    assert (str(value.pop("day")), value) == ("2026-01-02", {"mode": "fast", "tags": ["a"], "limit": 2})
    Kinds("2026-01-02", tags=["a"], limit=9).run()
    assert Command.objects.count() == 1
    Kinds("2026-01-02", mode="full").run()
    assert Command.objects.count() == 2
    with pytest.raises(InvalidCommand, match="found 'slow', allowed: full, fast"):
        Kinds("2026-01-02", mode="slow")


def test_parameters_that_cannot_be_are_refused_with_the_class() -> None:
    def add(parser: Any) -> None:
        def odd(text: str) -> object:
            raise ArgumentTypeError(text)

        parser.add_argument("thing", type=odd)

    for names, remedy in ((["thing"], "take a text, and read it"), (["other"], r"add_arguments\(\) adds thing")):
        with pytest.raises(InvalidCommand, match=remedy):
            type("Odd", (BasicCommand,), {"parameter_names": names, "add_arguments": staticmethod(add)})
    with pytest.raises(InvalidCommand, match=r"Odd.run\(\) would not be called"):
        type("Odd", (DownloadIterateCommand,), {"run": lambda self: None})


def test_a_base_may_leave_parameters_to_its_heirs() -> None:
    class Heir(Kinds):
        parameter_names = ["day"]

        def run(self) -> Any:
            return sorted(self.parameters), self.options["mode"]

    assert Heir("2026-01-02", mode="full").run() == (["day"], "full")


# -- dependencies, tests -----------------------------------------------------------------------------------------------


def test_a_dependency_is_compared_exactly_for_each_instance() -> None:
    commands["process_category"](category=12).run()
    for category in (1, 2):
        with pytest.raises(MissingDependencyException, match=f"process_category with category={category}"):
            commands["scrapers_my_command"](category).run()
    commands["scrapers_my_command"](12).run()
    commands["scrapers_my_command"](1, ignore_dependencies=True).run()


def test_a_trial_takes_the_test_values_and_says_so() -> None:
    assert commands["process_category"](test=True).run().items() >= {"category": 1, "test": True}.items()
    typed("run_command", "process_category", "--test")
    run = Run.objects.latest()
    assert (run.testing, run.parameters, run.value["test"]) == (True, {"category": 1}, True)
    with pytest.raises(MissingDependencyException):
        commands["scrapers_my_command"](1).run()


def test_all_commands_that_have_test_values_are_tried(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").unlink()
    with pytest.raises(ac.AsyncCommanderError, match=r"roster failed: .*roster\.csv"):
        test_commands()
    tried = {run.command for run in Run.objects.filter(testing=True)}
    assert tried - {"pages"} == {"process_category", "roster", "squares"}


# -- kinds with items --------------------------------------------------------------------------------------------------


def test_a_file_is_downloaded_once_and_kept_and_each_row_is_saved() -> None:
    commands["roster"]().run()
    assert set(Author.objects.values_list("name", flat=True)) == {"0 Bob", "1 Shelly"}
    typed("run_command", "roster")
    assert Effect.objects.filter(key="downloaded").count() == 1
    typed("run_command", "roster", "--refresh_cache")
    commands["roster"](refresh_cache=True).run()
    commands["roster"](refresh_cache=False).run()
    assert Effect.objects.filter(key="downloaded").count() == 3
    assert Effect.objects.filter(key="cleanup", run=str(Run.objects.latest().pk)).exists()


def test_a_download_for_each_row_is_kept_by_the_row(tmp_path: Path) -> None:
    for name in ("bob", "shelly"):
        Page.objects.create(url=name)
        (tmp_path / f"{name}.csv").write_text(f"field,value\ntitle,{name.upper()}\n")
    commands["wiki"](str(tmp_path)).run()
    assert set(Page.objects.values_list("url", "title")) == {("bob", "BOB"), ("shelly", "SHELLY")}
    (tmp_path / "bob.csv").unlink()
    typed("run_command", "wiki", str(tmp_path))
    with pytest.raises(ac.RunFailed):
        commands["wiki"](str(tmp_path), refresh_cache=True, max_failures=0).run()


def test_an_item_that_fails_is_a_dead_letter_and_the_others_go_on() -> None:
    class Some(IterateDownloadCommand):
        def iterate(self) -> Any:
            return iter(["a", "b", "a"])

        def download(self, item: str) -> Any:
            return (item, None)

        def parse_and_save(self, item: str, again: str, nothing: None) -> None:
            if item == "b":
                raise TypeError("about this one")
            Effect.objects.create(key=again)

        def cleanup(self) -> None:
            Effect.objects.create(key="cleanup")

    Some().run()
    run = Run.objects.get()
    assert (run.status, run.done, run.dead) == ("partial", 2, 1)
    assert [item.label for item in run.items.all()] == ["b"]
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["a", "a", "cleanup"]


def test_the_example_that_inherits_from_the_wrong_kind_is_what_its_hooks_say() -> None:
    class Wrong(DownloadIterateCommand):
        def iterate(self) -> Any:
            yield ["a"]

        def download(self, item: str) -> Any:
            return [item + "!"]

        def parse_and_save(self, item: str, loud: str) -> None:
            Effect.objects.create(key=item + loud)

    assert issubclass(Wrong, IterateDownloadCommand)
    Wrong().run()
    assert Effect.objects.get().key == "aa!"


def test_a_class_may_build_on_another_and_go_over_to_async_step_by_step() -> None:
    class Base(DownloadIterateCommand):
        def download(self) -> Any:
            return [["bob", "shelly"]]

        def iterate(self, names: list[str]) -> Any:
            for name in names:
                yield [name]

        def parse_and_save(self, name: str) -> None:
            Effect.objects.create(key=name)

    class Louder(Base):
        async def download(self) -> Any:
            return super().download()

        def iterate(self, names: list[str]) -> Any:
            for (name,) in super().iterate(names):
                yield [name, "!"]

        async def parse_and_save(self, name: str, sign: str) -> None:
            self.db.add(Effect(key=name + sign))

    Louder().run()
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["bob!", "shelly!"]


@pytest.mark.parametrize("cores", [1, 2])
def test_cleanup_gets_what_was_returned_in_the_order_of_the_items(cores: int) -> None:
    commands["squares"](num_cores=cores).run()
    run = Run.objects.latest()
    assert [result[1:] for result in squares.results_seen] == [(n, n * 10, run.pk) for n in range(6)]
    processes = {result[0] for result in squares.results_seen}
    assert (os.getpid() in processes) == (cores == 1 or connection.in_atomic_block)
    assert Effect.objects.filter(run=str(run.pk)).count() == 6
    assert run.options["num_cores"] == cores


# -- rows, and other ways to run ---------------------------------------------------------------------------------------


def test_commands_and_logs_are_asked_as_the_readme_does() -> None:
    for category in (1, 1, 2):
        commands["process_category"](category=category).run()
    command = Command.objects.get(name="process_category", parameters={"category": 1})
    assert command.logs.count() == 2
    assert command.command_class is commands["process_category"]
    command.command_class(category=1).run()
    newest = command.logs.order_by("-end_time")[0]
    assert (newest.pk, newest.start_time <= newest.end_time, newest.command_row) == (
        Run.objects.latest().pk,
        True,
        command,
    )
    assert str(newest) == "process_category {'category': 1}: COMPLETED"
    assert command.run()["category"] == 1
    assert (command.logs.count(), Command.objects.count(), CommandLog.objects.count()) == (4, 2, 5)
    CommandLog.objects.filter(pk=newest.pk).delete()
    Command.objects.filter(name="process_category", parameters={"category": 1}).delete()
    assert CommandLog.objects.count() == 1


def test_the_registry_is_a_mapping() -> None:
    assert {"process_category", "scrapers_my_command", "squares"} <= commands.keys()
    with pytest.raises(KeyError, match="Did you mean process_category"):
        commands["process_categry"]


def test_folders_that_the_settings_name_are_searched(tmp_path: Path, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(registry, "_more_places", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "far" / "jobs").mkdir(parents=True)
    (tmp_path / "far" / "__init__.py").touch()
    (tmp_path / "far" / "jobs" / "fetch.py").write_text(Path(process_category.__file__).read_text())
    settings.BASE_DIR = tmp_path
    settings.DJANGO_COMMANDER_COMMAND_FOLDERS = ["far/jobs", str(tmp_path / "far" / "jobs")]
    apps.get_app_config("async_commander_compat").ready()
    assert commands["fetch"](category=5).run()["category"] == 5
    assert get_commands()["fetch"].full_name == "far.fetch"
    settings.DJANGO_COMMANDER_COMMAND_FOLDERS = ["nowhere"]
    with pytest.raises(ImproperlyConfigured, match="names 'nowhere', which is no folder"):
        apps.get_app_config("async_commander_compat").ready()


def test_names_that_are_not_carried_say_why() -> None:
    with pytest.raises(ImportError, match="deletes the record of every failure"):
        from async_commander.contrib.compat.django_commander import clear_unfinished_command_logs  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        django_commander.nothing  # noqa: B018
    with pytest.raises(InvalidCommand, match="made by its first run"):
        Command.objects.create(name="x")
    with pytest.raises(InvalidCommand, match=r"recorded by ac.record_run\(\)"):
        CommandLog.objects.create(command="x")
    assert log_command(len) is len


def test_a_task_of_celery_fails_where_the_command_does() -> None:
    if find_spec("celery") is None:
        with pytest.raises(ImportError, match="pip install celery"):
            django_commander.run_command_task  # noqa: B018
        return
    task = django_commander.run_command_task
    assert task("process_category", {"category": 6}) == "Success: process_category"
    with pytest.raises(ac.CommandNotFound):
        task("nothing", {})
    assert (task.acks_late, task.reject_on_worker_lost) == (True, True)


@pytest.mark.skipif(find_spec("celery") is None, reason="needs Celery")
@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_again_runs_nothing_again() -> None:
    task = django_commander.run_command_task
    for _ in range(3):
        told = task.apply(args=("process_category", {"category": 6}), task_id="one message").get()
        assert told == "Success: process_category"
    assert Run.objects.filter(command="process_category").count() == 1
    task.apply(args=("process_category", {"category": 6}), task_id="another message").get()
    assert Run.objects.filter(command="process_category", status="succeeded").count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_command_runs_beside_its_caller() -> None:
    assert run_command_async("process_category", category=4).result(timeout=20)["category"] == 4
    with pytest.raises(ac.CommandNotFound):
        run_command_async("nothing").result(timeout=20)
