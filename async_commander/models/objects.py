"""The objects that a run has touched: how they are found in the rows that say so."""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, router
from django.db.models.functions import Cast, Replace

from async_commander.database.layout import concrete
from async_commander.database.touched import ID_LENGTH, key_of_text
from async_commander.results import ObjectAction

M = TypeVar("M", bound=models.Model)


def objects_of(run: Any, model: type[M], *, action: str | None = None) -> models.QuerySet[M]:
    """The rows of a model that the run has touched and that are there, as a queryset.

    `action`: only those that it has created, updated, deleted or linked. They are looked up in the run's own database;
    where the model's rows are in another one, or their key is none that a database makes of a text, all keys are read.
    """
    kind, alias = concrete(model), run._state.db or router.db_for_read(type(run))
    logs = run.object_logs.using(alias).filter(**of_type(kind))
    if action is not None:
        logs = logs.filter(action=action_named(action).value)
    objects, key = model._default_manager.using(router.db_for_read(model)), _key_of_text(alias, kind)
    if key is None or objects.db != alias:
        return objects.filter(pk__in=[key_of_text(kind, text) for text in logs.values_list("object_id", flat=True)])
    return objects.filter(pk__in=logs.order_by().annotate(key=key).values("key"))


def _key_of_text(alias: str, kind: type[models.Model]) -> Any:
    """What the database makes of `object_id`, to compare it with keys; None where that depends on more."""
    field: Any = kind._meta.pk
    while field.is_relation:
        field = field.target_field
    internal = field.get_internal_type()
    if internal.endswith(("IntegerField", "AutoField")):
        return Cast("object_id", models.BigIntegerField())
    if internal == "UUIDField" and connections[alias].features.has_native_uuid_field:
        return Cast("object_id", models.UUIDField())
    if internal == "UUIDField":
        return Replace("object_id", models.Value("-"), models.Value(""), output_field=models.CharField())
    return (
        models.F("object_id")
        if internal in ("CharField", "SlugField") and (field.max_length or 0) <= ID_LENGTH
        else None
    )


def of_type(kind: type[models.Model]) -> dict[str, Any]:
    """Rows of objects of this model. The key of its type is not asked for, which async code may not; and it is no join:
    in another order of joins a database would make keys of the texts of other models.
    """
    types = ContentType.objects.filter(app_label=kind._meta.app_label, model=kind._meta.model_name)
    return {"content_type": models.Subquery(types.values("pk")[:1])}


def action_named(action: str) -> ObjectAction:
    try:
        return ObjectAction(action)
    except ValueError:
        raise ValueError(f"action={action!r}: allowed are {', '.join(ObjectAction)}") from None
