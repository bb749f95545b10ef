"""One table loaded in three ways: each row a person, found by name and overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import tablib
from django.db.models import Model
from import_export import resources
from import_export.instance_loaders import CachedInstanceLoader

import async_commander as ac
from async_commander.imports import Cleaner
from benchmarks.models import Person

BATCH = 1_000


class Columns(Cleaner):
    columns = {"name": str, "born": int}
    required = ["name"]


class Load(ac.ImportCommand):
    """Ours: cleaned, resumable, with a history."""

    file: Path

    cleaner = Columns
    unique = {Person: ["name"]}
    update = {Person: ["born"]}

    def extract(self) -> Path:
        return self.file

    def transform(self, frame: pl.DataFrame) -> Mapping[type[Model], Iterable[Model]]:
        return {Person: [Person(name=name, born=born) for name, born in frame.iter_rows()]}


def by_this_package(file: Path) -> None:
    """`ac.run` of the command."""
    result = ac.run(Load(file=file))
    if result.status != "succeeded":
        raise RuntimeError(str(result))


def by_hand(file: Path) -> None:
    """Polars reads and types the file in batches, `bulk_create` writes each: no history, no resume, no bad rows."""
    frame = pl.read_csv(file, schema_overrides={"name": pl.String, "born": pl.Int64})
    for part in frame.iter_slices(BATCH):
        people = [Person(name=name, born=born) for name, born in part.iter_rows()]
        Person.objects.bulk_create(people, update_conflicts=True, unique_fields=["name"], update_fields=["born"])


class PersonResource(resources.ModelResource):
    """django-import-export in its bulk mode, as its documentation advises for large files."""

    class Meta:
        model = Person
        fields = ("name", "born")
        import_id_fields = ("name",)
        use_bulk = True
        batch_size = BATCH
        skip_diff = True
        skip_html_diff = True
        report_skipped = False
        force_init_instance = False
        instance_loader_class = CachedInstanceLoader


def by_import_export(file: Path) -> None:
    """The whole file is a dataset in memory, and is imported in one go."""
    with file.open(newline="") as lines:
        dataset = tablib.Dataset().load(lines, format="csv")
    result = PersonResource().import_data(dataset, raise_errors=True)
    if result.has_errors():
        raise RuntimeError(str(result.base_errors))


WAYS: dict[str, Any] = {
    "async_commander, ImportCommand": by_this_package,
    "Polars and bulk_create, by hand": by_hand,
    "django-import-export, bulk mode": by_import_export,
}
