"""The one row that every contender writes for a page."""

from __future__ import annotations

from django.db import models


class Page(models.Model):
    """A fetched page."""

    url = models.URLField(unique=True)
    title = models.CharField(max_length=200)
    links = models.PositiveIntegerField()

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.url
