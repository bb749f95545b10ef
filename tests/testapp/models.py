"""A few small models for the suite to write."""

from __future__ import annotations

from django.db import models


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
