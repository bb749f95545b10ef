"""`create_or_update()`: the row that some values find is filled with others, or made; two at once make one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import Model, Q

from async_commander.results import ObjectAction

from .keys import is_expression
from .layout import concrete
from .outage import Trouble, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import Field, QuerySet

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Values = Mapping[str, Any]

ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How the row is found, and what of the values is written."""

    match_any: bool = False
    """One equal value is enough; else all are."""
    search_nulls: bool = False
    """A value that is null looks for a null; else it looks for nothing."""
    save_nulls: bool = False
    """A value that is null is written; else the row keeps what it has."""
    empty_lists_are_null: bool = True
    only_update_existing_nulls: bool = False
    """Only what is null in the row is written."""
    allow_list_overlaps: bool = False
    """A list finds a list that has one of its values (PostgreSQL's arrays), and is added to the one in the row."""

    def find(self, queryset: QuerySet[M], unique: Values, *, lock: bool = False) -> M | None:
        """The row, or None. MultipleObjectsReturned where there are several. None, too, where there is no value to
        look for.
        """
        conditions = list(self._conditions(unique))
        if not conditions:
            return None
        rows = queryset.filter(reduce(or_ if self.match_any else and_, conditions))
        if self.match_any or any("__" in name for name in unique):
            # Joins may give a row twice, and no database locks rows that are made distinct.
            keys = list(rows.order_by().values_list("pk", flat=True).distinct()[:2])
            rows = queryset.filter(pk__in=keys)
            if not keys:
                return None
        if lock:
            rows = rows.select_related(None).select_for_update()
        try:
            return rows.get()
        except ObjectDoesNotExist:
            return None

    def create_or_update(
        self, queryset: QuerySet[M], unique: Values, update: Values, *, force_create: bool = False, **save: Any
    ) -> tuple[M, ObjectAction | None]:
        """The row, and what was done to it; None where it had all of that. In the transaction that is open.

        Raises ValueError where nothing finds the row, and what `save()` raises.
        """
        names = {*update, *(name for name in unique if "__" not in name)}
        if unknown := frozenset(names.difference(_names(queryset.model))):
            _warn(queryset.model, unknown)
        if not (force_create or any(self._conditions(unique))):
            raise ValueError(
                f"create_or_update({dict(unique)!r:.200}): all of these values are null, so that no "
                f"{queryset.model._meta.label} is found by them, and each call would make one more. Give one that is "
                "not; search_nulls=True looks for nulls, force_create=True makes a new row."
            )
        # MariaDB would lock the gap where no row is, and of two who then insert one would be a deadlock's victim.
        at_once = bool(update) and connections[queryset.db].vendor != "mysql"
        found = None if force_create else self.find(queryset, unique, lock=at_once)
        if found is not None and update and not at_once:
            found = self.find(queryset, {"pk": found.pk}, lock=True)
        if found is None:
            try:
                with transaction.atomic(using=queryset.db):
                    return self._create(queryset, unique, update, save), ObjectAction.CREATED
            except (IntegrityError, ValidationError):
                # Somebody was quicker. With the lock, for it sees what is committed by now on every database.
                found = None if force_create else self.find(queryset, unique, lock=True)
                if found is None:
                    raise
        return found, self._update(queryset, found, update, save)

    def is_null(self, value: Any) -> bool:
        """None, NaN, an empty text; an empty list, where these are. "None" and "nan" are texts like any other."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return True
        if isinstance(value, list | tuple | set | frozenset | dict):
            return self.empty_lists_are_null and not value
        return _is_nan(value)

    def _conditions(self, unique: Values) -> Iterable[Q]:
        for name, value in unique.items():
            if not self.is_null(value):
                overlaps = self.allow_list_overlaps and isinstance(value, list | tuple | set)
                yield Q(**{f"{name}__overlap": list(value)}) if overlaps else Q(**{name: value})
            elif self.search_nulls:
                empty = Q(**{f"{name}__isnull": True})
                yield empty if _storable(value) is None else empty | Q(**{name: value})

    def _create(self, queryset: QuerySet[M], unique: Values, update: Values, save: Values) -> M:
        values = {name: value for name, value in unique.items() if "__" not in name} | dict(update)
        known = _names(queryset.model)
        obj = queryset.model(**{
            name: _storable(value)
            for name, value in values.items()
            if name in known and (self.save_nulls or not self.is_null(value))
        })  # fmt: skip
        obj.save(**{"using": queryset.db, "force_insert": True, **save})
        return obj

    def _update(self, queryset: QuerySet[M], obj: M, update: Values, save: Values) -> ObjectAction | None:
        """Only what differs is written: what others change in the row meanwhile stays."""
        known, changed = _names(queryset.model), set()
        for name, value in update.items():
            field = known.get(name)
            if field is None or (self.is_null(value) and not self.save_nulls):
                continue
            before = getattr(obj, field.attname)
            if self.only_update_existing_nulls and not self.is_null(before):
                continue
            new = _storable(value)
            if self.allow_list_overlaps and isinstance(before, list) and isinstance(value, list | tuple | set):
                new = [*before, *(one for one in value if one not in before)]
            if _differs(field, before, new):
                setattr(obj, name, new)
                changed.add(field.name)
        if not changed:
            return None
        changed.update(field.name for field in obj._meta.concrete_fields if getattr(field, "auto_now", False))
        obj.save(**{"using": queryset.db, "update_fields": changed, **save})
        return ObjectAction.UPDATED


def untangled(work: Callable[[], T], alias: str) -> T:
    """Do a transaction again that was the victim of a deadlock; in one of the caller's, that is the caller's to do.

    Two who insert one key at once, and then lock it, meet so on MariaDB.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except OperationalError as error:
            if connections[alias].in_atomic_block or trouble_of(error) is not Trouble.IN_THE_WAY:
                raise
    return work()


@cache
def _names(model: type[Model]) -> dict[str, Field[Any, Any]]:
    """What a value may be given for: a column, by the name of its field or its attribute."""
    fields = [field for field in concrete(model)._meta.concrete_fields if not field.generated]
    return (
        {field.attname: field for field in fields}
        | {field.name: field for field in fields}
        | {"pk": fields[0].model._meta.pk}
    )


@cache
def _warn(model: type[Model], unknown: frozenset[str]) -> None:
    """Once for each model and names: rows come by the thousand."""
    known = ", ".join(field.name for field in concrete(model)._meta.concrete_fields)
    logger.warning(
        "create_or_update(): %s has no column %s; it is left out. It has: %s.",
        model._meta.label, ", ".join(sorted(unknown)), known,
    )  # fmt: skip


def _storable(value: Any) -> Any:
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    """What is not equal to itself: NaN of each kind, pandas' NaT; and its NA, which is neither equal nor not."""
    try:
        return bool(value != value)  # noqa: PLR0124 - for that reason
    except (TypeError, ValueError, ArithmeticError):
        return type(value).__name__ == "NAType"


def _differs(field: Field[Any, Any], before: Any, value: Any) -> bool:
    if is_expression(value):
        return True
    if isinstance(value, Model):
        value = getattr(value, field.target_field.attname)  # type: ignore[attr-defined]  # of a foreign key
    try:
        return bool(before != field.to_python(value))
    except (ValidationError, TypeError, ValueError):  # save() says what is wrong with it
        return True
