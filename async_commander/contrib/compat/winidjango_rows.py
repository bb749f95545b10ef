"""winidjango's functions about rows and models, on `async_commander.bulk`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.contrib.admin.utils import NestedObjects
from django.db import connection, models, router

from async_commander import bulk as bulk_of_ours
from async_commander.command.identity import canonical_json
from async_commander.database.layout import parents_first

M = TypeVar("M", bound=models.Model)

STEP = 1000
MODES = MODE_CREATE, MODE_UPDATE, MODE_DELETE = ("create", "update", "delete")


def bulk_create_in_steps(model: type[M], bulk: Iterable[M], step: int = STEP) -> list[M]:
    """Insert new rows, all or none; returns the objects, with their keys. See `bulk.create`."""
    return bulk_create_bulks_in_steps({model: bulk}, step)[model]  # type: ignore[return-value]


def bulk_create_bulks_in_steps(
    bulk_by_class: Mapping[type[models.Model], Iterable[models.Model]], step: int = STEP
) -> dict[type[models.Model], list[models.Model]]:
    """Insert rows of several models, parents first, all or none; returns the objects. See `bulk.create_models`."""
    objects = {model: list(bulk_by_class[model]) for model in topological_sort_models(list(bulk_by_class))}
    bulk_of_ours.create_models(objects, step=step)
    return objects


def bulk_update_in_steps(model: type[M], bulk: Iterable[M], update_fields: Sequence[str], step: int = STEP) -> int:
    """Write these fields of rows that exist; returns how many are there. See `bulk.update`."""
    del model
    return bulk_of_ours.update(bulk, fields=update_fields, step=step)


def bulk_delete_in_steps(model: type[M], bulk: Iterable[M], step: int = STEP) -> tuple[int, dict[str, int]]:
    """Delete rows and what cascades from them; returns what `QuerySet.delete()` does. See `bulk.delete`."""
    del model
    return bulk_of_ours.delete(bulk, step=step)


def bulk_method_in_steps(model: type[M], bulk: Iterable[M], step: int, mode: str, **words: Any) -> Any:
    """`bulk_create_in_steps`, `bulk_update_in_steps` (`fields=[…]`) or `bulk_delete_in_steps`, by its mode.

    ValueError for another mode.
    """
    if mode == MODE_CREATE:
        return bulk_create_in_steps(model, bulk, step)
    if mode == MODE_UPDATE:
        return bulk_update_in_steps(model, bulk, words["fields"], step)
    if mode == MODE_DELETE:
        return bulk_delete_in_steps(model, bulk, step)
    raise ValueError(f"mode={mode!r}: one of {', '.join(MODES)} is needed")


bulk_method_in_steps_atomic = bulk_method_in_steps


def get_step_chunks(bulk: Iterable[M], step: int) -> Iterator[tuple[list[M]]]:
    """Lists of `step` objects, each in a tuple."""
    remaining = iter(bulk)
    while chunk := list(islice(remaining, step)):
        yield (chunk,)


def hash_model_instance(instance: models.Model, fields: Iterable[Any]) -> int:
    """A number that is equal for equal objects: by the key of one that has it, else by the values of these fields."""
    return hash(canonical_json(instance.pk or _values(instance, fields)))


def _values(instance: models.Model, fields: Iterable[Any]) -> list[Any]:
    """What an author gives: no key, and nothing that Django fills in."""
    return [
        getattr(instance, field.attname)
        for field in fields
        if getattr(field, "concrete", False) and field.editable and not (field.primary_key or field.many_to_many)
    ]


def get_differences_between_bulks(
    bulk1: Sequence[M], bulk2: Sequence[M], fields: Iterable[Any]
) -> tuple[list[M], list[M], list[M], list[M]]:
    """What is only in the first, only in the second, and what is in both: those of the first, those of the second.

    Objects that are all saved are compared by their keys, others by these fields, the key and what Django fills in by
    itself left out: a row of the database is equal to a new object with its values. See `bulk.diff`, which also tells
    what has changed.
    """
    if bulk1 and bulk2 and type(bulk1[0]) is not type(bulk2[0]):
        raise ValueError("Both bulks must be of the same model type")
    saved = all(each.pk is not None and not each._state.adding for each in (*bulk1, *bulk2))
    compared = list(fields)
    keys1, keys2 = (
        [canonical_json(each.pk if saved else _values(each, compared)) for each in bulk] for bulk in (bulk1, bulk2)
    )
    both = {*keys1} & {*keys2}
    pairs1, pairs2 = list(zip(bulk1, keys1, strict=True)), list(zip(bulk2, keys2, strict=True))
    return (
        [each for each, key in pairs1 if key not in both],
        [each for each, key in pairs2 if key not in both],
        [each for each, key in pairs1 if key in both],
        [each for each, key in pairs2 if key in both],
    )


def simulate_bulk_deletion(
    model_class: type[models.Model], entries: Sequence[models.Model]
) -> dict[type[models.Model], set[models.Model]]:
    """The rows that would be deleted, by model; what is protected is left out. See `bulk.preview_deletion`."""
    if not entries:
        return {}
    collector = NestedObjects(using=router.db_for_write(model_class))
    collector.collect(list(entries))
    return {model: set(rows) for model, rows in collector.model_objs.items()}  # type: ignore[misc]  # its stubs say otherwise


def multi_simulate_bulk_deletion(
    entries: Mapping[type[models.Model], Sequence[models.Model]],
) -> dict[type[models.Model], set[models.Model]]:
    """The same for several models together."""
    found: dict[type[models.Model], set[models.Model]] = {}
    for model_class, some in entries.items():
        for model, rows in simulate_bulk_deletion(model_class, some).items():
            found.setdefault(model, set()).update(rows)
    return found


def topological_sort_models(models_: list[type[models.Model]]) -> list[type[models.Model]]:
    """The models, those that others refer to first; a circle is cut where a key may be null."""
    return list(parents_first(frozenset(models_)))


# -- models ------------------------------------------------------------------------------------------------------------


class BaseModel(models.Model):
    """Knows when its rows were created and updated."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.pk})"

    __repr__ = __str__

    @property
    def meta(self) -> Any:
        """`_meta`."""
        return self._meta


def get_model_meta(model: type[models.Model]) -> Any:
    """`_meta`."""
    return model._meta


def get_fields(model: type[models.Model]) -> list[Any]:
    """All fields of a model, those of other models that refer to it included."""
    return list(model._meta.get_fields())


def get_field_names(fields: Iterable[Any]) -> list[str]:
    """Their names."""
    return [field.name for field in fields]


def execute_sql(sql: str, params: Mapping[str, Any] | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a statement on the default database: the names of its columns, and its rows; none of one without rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        if cursor.description is None:
            return [], []
        return [column[0] for column in cursor.description], list(cursor.fetchall())
