"""What the pages say: modules, the links between them, and the symbols they define."""

from __future__ import annotations

from django.db import models


class Module(models.Model):
    """One page of the documentation: a module or a package."""

    name = models.CharField(max_length=200, unique=True)
    url = models.URLField()
    title = models.CharField(max_length=300, blank=True)
    summary = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Link(models.Model):
    """A module's page mentions another one, by name: it need not have a page."""

    source = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="links")
    target = models.CharField(max_length=200, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "target"], name="library_one_link")]

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


class Symbol(models.Model):
    """A name that a module defines."""

    class Kind(models.TextChoices):
        CLASS = "class"
        FUNCTION = "function"
        DATA = "data"

    module = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="symbols")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, choices=Kind)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["module", "name"], name="library_one_symbol")]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"
