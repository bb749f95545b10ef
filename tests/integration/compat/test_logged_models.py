"""Models whose objects know which old command touched them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks

from async_commander.contrib.compat.django_commander import BasicCommand, Command, CommandLog, DownloadIterateCommand
from async_commander.models import Run
from tests.testapp.models import Child, Parent

pytestmark = pytest.mark.django_db(transaction=True)


class Family(BasicCommand):
    parameter_names = ["parent_name"]

    @staticmethod
    def add_arguments(parser: Any) -> Any:
        parser.add_argument("parent_name", type=str)
        parser.add_argument("--child_name", type=str, default=None)
        return parser

    def run(self) -> Any:
        parent, _ = Parent.objects.get_or_create(name=self.parameters["parent_name"])
        parent.command_logs.add(self.log)
        name = self.options["child_name"] or "child"
        return parent, Child.objects.create_or_update({"name": name, "parent": parent}, command_log=self.log)


class Rows(DownloadIterateCommand):
    def download(self) -> Any:
        return [["bob", "shelly"]]

    def iterate(self, names: list[str]) -> Any:
        for name in names:
            yield [name]

    def parse_and_save(self, name: str) -> None:
        Parent.objects.create_or_update({"name": name}, log=self.log)


def test_objects_know_the_logs_and_the_commands_that_touched_them() -> None:
    Family(parent_name="bob").run()
    _, sally = Family(parent_name="bob", child_name="sally").run()
    bob, child = Family(parent_name="bob").run()
    Rows().run()
    assert (Parent.objects.count(), Child.objects.count()) == (2, 2)
    assert (bob.command_logs.count(), bob.commands.count()) == (4, 2)
    assert (sally.command_logs.count(), sally.commands.count()) == (1, 1)
    assert child.command_logs.order_by("end_time").last() == CommandLog.objects.get(pk=Run.objects.latest().pk - 1)
    assert {command.parameters.get("parent_name") for command in bob.commands} == {"bob", None}
    assert bob.commands.filter(name=f"{__name__}.Rows").get() in Command.objects.all()
    assert [each.name for each in Run.objects.latest().objects(Parent).order_by("name")] == ["bob", "shelly"]


def test_the_logs_of_a_command_become_one() -> None:
    Family(parent_name="bob").run()
    first = CommandLog.objects.get()
    assert first.error is None
    Family(parent_name="bob", child_name="sally").run()
    command = Command.objects.get(name=f"{__name__}.Family", parameters={"parent_name": "bob"})
    command.consolidate_logs()
    log = command.logs.get()
    assert log.started == first.started
    log.save()
    assert log.error is None
    assert {each.name for each in log.child_related} == {"child", "sally"}
    with pytest.raises(AttributeError, match="no attribute 'tag_related'"):
        log.tag_related  # noqa: B018
    assert Command.objects.get().logs.count() == 1


def test_a_manager_reads_and_writes_in_steps() -> None:
    Parent.objects.bulk_create([Parent(name=str(number)) for number in range(7)])
    assert sorted(row.name for row in Parent.objects.chunk(size=3, randomize=True)) == list("0123456")
    assert len(list(Parent.objects.order_by("name").chunk(size=3))) == 7
    assert len({row.pk for row in Parent.objects.sample(4)}) == 4
    assert Parent.objects.filter(name__lt="3").chunk_update(size=2, name="low") == 3
    Child.objects.create(name="x", parent=Parent.objects.filter(name="low")[0])
    assert Parent.objects.filter(name="low").inspect_delete().cascaded[Child] == 1
    assert Parent.objects.filter(name="low").chunk_delete(size=2)[0] == 4
    assert Parent.objects.count() == 4


def test_such_models_pass_the_checks() -> None:
    assert not [each for each in run_checks() if each.obj in (Parent, Child)]
