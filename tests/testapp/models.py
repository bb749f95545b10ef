"""A few small models for the suite to write."""

from __future__ import annotations

import uuid

from django.db import models

from async_commander.contrib.compat.django_commander import LoggedExtendedManager, LoggedExtendedModel
from async_commander.models import LoggedModel


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)


class Book(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    title = models.CharField(max_length=200)
    isbn = models.CharField(max_length=40, unique=True)
    stock = models.IntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)


class Node(models.Model):
    name = models.CharField(max_length=100, unique=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")


class Tag(models.Model):
    name = models.CharField(max_length=100, unique=True)


class Page(models.Model):
    url = models.CharField(max_length=200, unique=True)
    title = models.CharField(max_length=200, default="")
    body = models.TextField(default="")


class Effect(models.Model):
    """One row per effect, without a unique constraint: a doubled effect shows as two rows."""

    key = models.CharField(max_length=100, db_index=True)
    run = models.CharField(max_length=40, default="")


class Company(models.Model):
    """Refers to Person, which refers to it: a circle through a key that may be null."""

    name = models.CharField(max_length=100, unique=True)
    boss = models.ForeignKey("Person", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")


class Person(models.Model):
    email = models.CharField(max_length=100, unique=True)
    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="people")


class Product(models.Model):
    sku = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=200, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    stock = models.IntegerField(null=True)
    released = models.DateField(null=True)
    facts = models.JSONField(default=dict)
    changed = models.DateTimeField(auto_now=True)
    supplier = models.ForeignKey(Company, null=True, on_delete=models.PROTECT, related_name="products")
    tags = models.ManyToManyField(Tag, related_name="products")


class Review(models.Model):
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="reviews")
    by = models.ForeignKey(Person, null=True, on_delete=models.SET_NULL, related_name="reviews")
    about = models.ForeignKey(Tag, null=True, on_delete=models.RESTRICT, related_name="reviews")


class Party(LoggedModel):
    name = models.CharField(max_length=100, unique=True)
    founded = models.IntegerField(null=True)
    changed = models.DateTimeField(auto_now=True)


class Cause(models.Model):
    """Not logged itself: only by commands that say `provenance = True`."""

    name = models.CharField(max_length=100, unique=True)


class Politician(LoggedModel):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100, unique=True)
    district = models.CharField(max_length=100, null=True)
    born = models.IntegerField(null=True)
    party = models.ForeignKey(Party, null=True, on_delete=models.CASCADE, related_name="members")
    causes = models.ManyToManyField(Cause, related_name="politicians")


class Elder(Party):
    """A proxy: its rows are those of parties."""

    class Meta:
        proxy = True


class Faction(Party):
    """In a table of its own, beside that of its party."""

    seats = models.IntegerField(default=0)


class Bench(LoggedModel):
    """Two numbers are its key."""

    pk = models.CompositePrimaryKey("row", "place")
    row = models.IntegerField()
    place = models.IntegerField()
    taken = models.BooleanField(default=False)


class Parent(LoggedExtendedModel):
    """Of django_commander's kind."""

    name = models.TextField(null=True)

    objects = LoggedExtendedManager().as_manager()


class Child(LoggedExtendedModel):
    name = models.TextField()
    parent = models.ForeignKey(Parent, on_delete=models.CASCADE, related_name="children")

    objects = LoggedExtendedManager().as_manager()
