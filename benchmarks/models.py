"""What the contenders write: the row of a page, and people of whom is recorded who wrote them."""

from __future__ import annotations

from django.db import models

from async_commander.models import LoggedModel


class Page(models.Model):
    """A fetched page."""

    url = models.URLField(unique=True)
    title = models.CharField(max_length=200)
    links = models.PositiveIntegerField()

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.url


class Person(models.Model):
    """A row of which nothing is recorded."""

    name = models.CharField(max_length=100, unique=True)
    born = models.IntegerField(null=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class LoggedPerson(LoggedModel):
    """The same row, recorded by async_commander."""

    name = models.CharField(max_length=100, unique=True)
    born = models.IntegerField(null=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class LinkedPerson(models.Model):
    """The same row, with two many-to-many tables of its own: to the runs, and to the commands that these are of."""

    name = models.CharField(max_length=100, unique=True)
    born = models.IntegerField(null=True)
    command_logs = models.ManyToManyField("async_commander.Run", related_name="linked_people")
    commands = models.ManyToManyField("contenttypes.ContentType", related_name="linked_people")

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class SavedPerson(models.Model):
    """The same row, beside which each save writes one about itself."""

    name = models.CharField(max_length=100, unique=True)
    born = models.IntegerField(null=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class SavedBy(models.Model):
    """A run and an object that it has saved."""

    run_id = models.BigIntegerField()
    content_type = models.ForeignKey("contenttypes.ContentType", on_delete=models.CASCADE)
    object_id = models.CharField(max_length=64, db_index=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.object_id
