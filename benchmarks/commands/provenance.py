"""Writing people, and recording by which run: as async_commander does, and in the two ways that projects did before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

import async_commander as ac
from benchmarks.models import LinkedPerson, LoggedPerson, OneCommand, OneRun, Person, SavedBy, SavedPerson


class People(ac.DownloadIterateCommand[None, int]):
    """Write so many people, some in each item."""

    count: Annotated[int, ac.Option(identity=False)] = 1_000
    in_an_item: Annotated[int, ac.Option(identity=False)] = 1
    born: Annotated[int, ac.Option(identity=False)] = 1970
    model: ClassVar[type[models.Model]] = Person

    def download(self) -> None:
        """Nothing."""

    def iterate(self, payload: None) -> Iterator[int]:  # noqa: ARG002 - there is none
        """The first person of each item."""
        return iter(range(0, self.count, self.in_an_item))

    def names(self, item: int) -> list[str]:
        """Those of an item."""
        return [f"person {number}" for number in range(item, min(item + self.in_an_item, self.count))]


class Queued(People):
    """In the writer's batches."""

    async def parse_and_save(self, item: int) -> None:
        """Upserts."""
        rows = [self.model(name=name, born=self.born) for name in self.names(item)]
        self.db.upsert(*rows, unique=["name"], update=["born"])


class QueuedLogged(Queued):
    """The same, recorded."""

    model = LoggedPerson


class Saved(People):
    """By Django's own saves, on lanes."""

    def parse_and_save(self, item: int) -> None:
        """Each by itself."""
        manager: Any = self.model._default_manager
        for name in self.names(item):
            manager.update_or_create(name=name, defaults={"born": self.born})


class SavedLogged(Saved):
    """The same, recorded."""

    model = LoggedPerson


class CreatedOrUpdated(People):
    """By `create_or_update()`, on lanes."""

    model = LoggedPerson

    def parse_and_save(self, item: int) -> None:
        """Each by itself."""
        for name in self.names(item):
            LoggedPerson.objects.create_or_update({"name": name}, {"born": self.born}, log=self.record)


def linked_by_two_tables(count: int, born: int) -> None:
    """Made by hand from what django_commander documents of its models: look up, create and read again, or save; then
    a link to the run, after which the links to the commands of all of its runs are set.
    """
    run = OneRun.objects.create(command=OneCommand.objects.get_or_create(name="by hand")[0])
    for number in range(count):
        name = f"person {number}"
        person = LinkedPerson.objects.filter(name=name).first()
        if person is None:
            with transaction.atomic():
                person = LinkedPerson.objects.get(pk=LinkedPerson.objects.create(name=name, born=born).pk)
        else:
            person.born = born
            person.save()
        person.command_logs.add(run)
        person.commands.set({one.command for one in person.command_logs.select_related("command")})


def saved_with_one_row_each(count: int, born: int) -> None:
    """What a project writes by itself: `update_or_create()`, and one row about it in a table for all models."""
    run = OneRun.objects.create(command=OneCommand.objects.get_or_create(name="by hand")[0])
    kind = ContentType.objects.get_for_model(SavedPerson)
    for number in range(count):
        with transaction.atomic():
            person, _ = SavedPerson.objects.update_or_create(name=f"person {number}", defaults={"born": born})
            SavedBy.objects.create(run_id=run.pk, content_type_id=kind.pk, object_id=person.pk)


def saved_without(count: int, born: int) -> None:
    """The same without that row."""
    for number in range(count):
        Person.objects.update_or_create(name=f"person {number}", defaults={"born": born})
