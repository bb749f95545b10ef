"""Columns that only the database knows: generated ones, defaults of the database, keys that it makes."""

from __future__ import annotations

import pytest
from django.db import connection, models
from django.db.models import F, Value
from django.db.models.functions import Concat, Lower, Now
from django.test.utils import isolate_apps

from async_commander.database.unit import Unit

from .conftest import created, write

pytestmark = pytest.mark.django_db(transaction=True)


@isolate_apps("tests.testapp")
def test_rows_with_a_unique_generated_column_are_written_like_others(unit: Unit) -> None:
    class Word(models.Model):
        slug = models.GeneratedField(
            expression=Lower("text"), output_field=models.CharField(max_length=20), db_persist=True, unique=True
        )
        text = models.CharField(max_length=20, unique=True)
        number = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Word):
        words = [Word(text=text) for text in "CBA"]
        unit.add(*words)
        unit.upsert(Word(text="A", number=5), unique=["text"], update=["number"])
        write(unit)
        assert list(Word.objects.order_by("slug").values_list("slug", "number")) == [("a", 5), ("b", 0), ("c", 0)]
        if connection.features.can_return_rows_from_bulk_insert:
            assert [word.slug for word in words] == ["c", "b", "a"]


@isolate_apps("tests.testapp")
def test_a_generated_column_can_be_the_key_of_an_upsert_or_is_refused(unit: Unit) -> None:
    class Word(models.Model):
        slug = models.GeneratedField(
            expression=Lower("text"), output_field=models.CharField(max_length=20), db_persist=True, unique=True
        )
        text = models.CharField(max_length=20)
        number = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Word):
        words = [Word(text=text, number=number) for number, text in enumerate(["a", "A", "b"])]
        unit.upsert(*words, unique=["slug"], update=["number"])
        if connection.vendor == "mysql":
            message = (
                r"unique=\['slug'\]\): 'slug' of testapp\.Word is computed by the database.*Name a unique constraint"
            )
            with pytest.raises(ValueError, match=message):
                write(unit)
            return
        write(unit)
        assert dict(Word.objects.values_list("slug", "number")) == {"a": 1, "b": 2}
        assert words[0].pk == words[1].pk
        again = Unit("default")
        again.upsert(found := Word(text="B", number=9), unique=["slug"], update=[])
        write(again)
        assert (Word.objects.get(slug="b").number, found.pk) == (2, words[2].pk)


@isolate_apps("tests.testapp")
def test_a_queued_parent_whose_key_the_database_makes_hands_it_down(unit: Unit) -> None:
    class OwnParent(models.Model):
        id = models.IntegerField(primary_key=True, db_default=7)
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "testapp"

    class OwnChild(models.Model):
        parent = models.ForeignKey(OwnParent, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    with created(OwnParent, OwnChild):
        parent = OwnParent(name="a")
        unit.add(OwnChild(parent=parent), parent)
        write(unit)
        assert (parent.pk, OwnChild.objects.get().parent_id) == (7, 7)


@isolate_apps("tests.testapp")
def test_a_key_of_several_fields_may_be_set_by_pre_save(unit: Unit) -> None:
    class Reading(models.Model):
        pk = models.CompositePrimaryKey("sensor", "at")
        sensor = models.IntegerField()
        at = models.DateTimeField(auto_now_add=True)
        value = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Reading):
        first, second = Reading(sensor=1), Reading(sensor=2)
        unit.add(first)
        unit.upsert(second, unique=["sensor", "at"], update=["value"])
        write(unit)
        assert {reading.pk for reading in Reading.objects.all()} == {first.pk, second.pk}
        assert None not in first.pk
        again = Unit("default")
        again.upsert(Reading(sensor=1, at=first.at, value=3), unique=["at", "sensor"], update=["value"])
        write(again)
        # auto_now_add sets the time of what is inserted, as in Django: another key, another row
        assert Reading.objects.count() == 3


@isolate_apps("tests.testapp")
def test_defaults_of_the_database_come_back(unit: Unit) -> None:
    class Task(models.Model):
        name = models.CharField(max_length=20, unique=True)
        state = models.CharField(max_length=20, db_default="new")
        tries = models.IntegerField(db_default=3)

        class Meta:
            app_label = "testapp"

    with created(Task):
        tasks = [Task(name="a"), Task(name="b", state="old"), Task(name="c", tries=4), Task(name="a", tries=9)]
        for task in tasks:
            unit.upsert(task, unique=["name"], update="__all__")
        write(unit)
        expected = {("a", "new", 9), ("b", "old", 3), ("c", "new", 4)}
        assert set(Task.objects.values_list("name", "state", "tries")) == expected
        if connection.features.can_return_rows_from_bulk_insert:
            assert [(task.state, task.tries) for task in tasks[1:]] == [("old", 3), ("new", 4), ("new", 9)]
        again = Unit("default")
        again.upsert(Task(name="b"), unique=["name"], update=["state"])
        again.update(Task(pk=tasks[2].pk, name="c"), fields=["tries"])
        write(again)
        assert Task.objects.get(name="b").state == "new"
        assert Task.objects.get(name="c").tries == 3


@isolate_apps("tests.testapp")
def test_expressions_are_values_of_any_field(unit: Unit) -> None:
    class Note(models.Model):
        text = models.CharField(max_length=20, unique=True)
        at = models.DateTimeField(null=True)
        count = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Note):
        unit.add(Note(text=Lower(Value("A")), at=Now()), Note(text="b", at=Now()))
        unit.upsert(Note(text=Concat(Value("a"), Value("")), count=4), unique=["text"], update=["count"])
        write(unit)
        assert set(Note.objects.values_list("text", "count")) == {("a", 4), ("b", 0)}
        assert not Note.objects.filter(at=None).exists()
        note = Note.objects.get(text="b")
        again = Unit("default")
        note.count, note.at = F("count") + 2, Now()
        again.update(note, fields=["count", "at"])
        write(again)
        assert Note.objects.get(text="b").count == 2


@isolate_apps("tests.testapp")
def test_rows_of_nothing_but_a_key_are_inserted(unit: Unit) -> None:
    class Ticket(models.Model):
        class Meta:
            app_label = "testapp"

    with created(Ticket):
        tickets = [Ticket() for _ in range(3)]
        unit.add(*tickets, Ticket(pk=77))
        write(unit)
        assert {ticket.pk for ticket in tickets} | {77} == set(Ticket.objects.values_list("pk", flat=True))


@isolate_apps("tests.testapp")
def test_keys_that_are_given_and_keys_that_are_made_are_written_together(unit: Unit) -> None:
    class Item(models.Model):
        code = models.CharField(max_length=9, unique=True)
        value = models.IntegerField(default=0)

        class Meta:
            app_label = "testapp"

    with created(Item):
        objects = [
            Item(code="a", value=1),
            Item(pk=500, code="a", value=2),
            Item(pk=501, code="b"),
            Item(code="b", value=4),
        ]
        for obj in objects:
            unit.upsert(obj, unique=["code"], update=["value"])
        write(unit)
        assert dict(Item.objects.values_list("code", "value")) == {"a": 2, "b": 4}
        assert objects[0].pk == objects[1].pk == Item.objects.get(code="a").pk
        assert objects[2].pk == objects[3].pk == 501
