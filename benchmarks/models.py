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


class OneCommand(models.Model):
    """A command, as a table of its own."""

    name = models.CharField(max_length=100, unique=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class OneRun(models.Model):
    """A run of it. This app has no migrations, and so no references to tables that have."""

    command = models.ForeignKey(OneCommand, on_delete=models.CASCADE)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return f"run {self.pk}"


class LinkedPerson(models.Model):
    """The same row, with two many-to-many tables of its own: to the runs, and to the commands that these are of."""

    name = models.CharField(max_length=100, unique=True)
    born = models.IntegerField(null=True)
    command_logs = models.ManyToManyField(OneRun, related_name="people")
    commands = models.ManyToManyField(OneCommand, related_name="people")

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
    content_type_id = models.IntegerField()
    object_id = models.CharField(max_length=64, db_index=True)

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.object_id
