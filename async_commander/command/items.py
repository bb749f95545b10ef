"""Items as the ledger keeps them: JSON that gives back the same item, of the same type."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import Model

from async_commander.exceptions import ItemError

from .identity import saved_pk
from .values import UNSTORABLE

if TYPE_CHECKING:
    from collections.abc import Callable

TYPE, VALUE = "$type", "value"
ROW = "row"
EXACT_BITS = 63
"""Of an integer: a longer one is no number to every database, nor to every reader of JSON."""


class ItemGone(LookupError):
    """The row that an item stands for is not there any more."""


class NoForm(TypeError):
    """A value, or a part of one, that JSON cannot hold so that the same comes back; `kind` is its type."""

    def __init__(self, cls: type) -> None:
        self.kind = f"{cls.__module__}.{cls.__qualname__}"
        super().__init__(
            f"an item of type {self.kind} cannot be kept as JSON; yield plain data, saved model instances, or a "
            f"dataclass, a named tuple or an Enum defined at the top of a module"
        )


class UnfitItem(ItemError):
    """An item without a key of its own, or one that JSON cannot hold; the message says where it is in the source."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are kept: `dump` makes JSON, `load` takes it back."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class RowReference:
    """What is stored of a model instance: which row of which database it is."""

    label: str
    pk: Any
    using: str | None = None

    @property
    def alias(self) -> str:
        """The database that the row is in; where none is stored, the one that this model is read from."""
        return self.using or router.db_for_read(self._model())

    def is_a(self, model: type[Model]) -> bool:
        """Whether its model, if there still is one, is this one or made of it."""
        try:
            return issubclass(self._model(), model)
        except ItemGone:
            return False

    def read(self) -> Model:
        """The row, as it is without anything that a queryset adds. ItemGone where it is not there."""
        row: Model | None = self._model()._base_manager.using(self.alias).filter(pk=self.pk).first()
        if row is None:
            raise ItemGone(f"there is no {self.label} with the primary key {self.pk!r} any more")
        return row

    def _model(self) -> type[Model]:
        try:
            return apps.get_model(self.label)
        except LookupError:
            raise ItemGone(f"there is no model {self.label} any more") from None


def item_to_json(item: Any) -> Any:
    """JSON for an item: plain values as they are, model instances as {"model": label, "pk": …}, others with their type.

    A model instance is kept with its database, unless that is the only one there is to read it from.

    TypeError where an item has no such form: yield plain data, dataclasses or saved model instances. ValueError for one
    that is nested too deep, or contains itself.
    """
    try:
        return _to_json(item)
    except RecursionError:
        raise ValueError("an item that is nested so deep, or contains itself, cannot be kept as JSON") from None


def _to_json(item: Any) -> Any:
    if isinstance(item, Model):
        label, pk, using = item._meta.label, item_to_json(saved_pk(item)), item._state.db
        alone = using is None or (using == DEFAULT_DB_ALIAS and not router.routers)
        return {"model": label, "pk": pk} if alone else {TYPE: ROW, VALUE: [label, pk, using]}
    if type(item) in {str, int, float, bool, type(None)}:
        return _plain_to_json(item)
    if type(item) is list:
        return [_to_json(member) for member in item]
    if type(item) is dict and all(type(key) is str for key in item):
        plain = {key: _to_json(value) for key, value in item.items()}
        pairs = [[_to_json(key), value] for key, value in plain.items()]
        taken_for_another = TYPE in plain or plain.keys() == {"model", "pk"} or any(map(UNSTORABLE.search, plain))
        return {TYPE: "dict", VALUE: pairs} if taken_for_another else plain
    return _typed(item)


def _plain_to_json(item: Any) -> Any:
    """Plain values that some database, or JSON itself, would refuse or change are kept as texts."""
    if type(item) is str and UNSTORABLE.search(item):
        return {TYPE: "text", VALUE: item.encode("utf-8", "surrogatepass").hex()}
    if type(item) is int and item.bit_length() > EXACT_BITS:
        return {TYPE: "int", VALUE: hex(item)}
    if type(item) is float and not math.isfinite(item):
        return {TYPE: "float", VALUE: repr(item)}
    return item


def item_from_json(stored: Any) -> Any:
    """The item again. A model instance is read from its table, so call it where ORM calls are allowed.

    ItemGone where that row is not there any more; TypeError where a class is not known any more.
    """
    if isinstance(stored, list):
        return [item_from_json(member) for member in stored]
    if not isinstance(stored, dict):
        return stored
    if row := row_reference(stored):
        return row.read()
    if TYPE in stored:
        return _restored(stored[TYPE], item_from_json(stored[VALUE]))
    return {key: item_from_json(value) for key, value in stored.items()}


def row_reference(stored: Any) -> RowReference | None:
    """Which row a stored item is; None where it is something else."""
    if not isinstance(stored, dict):
        return None
    if stored.keys() == {"model", "pk"}:
        return RowReference(stored["model"], item_from_json(stored["pk"]))
    if stored.get(TYPE) == ROW:
        label, pk, using = stored[VALUE]
        return RowReference(label, item_from_json(pk), using)
    return None


def text_to_keep(value: Any) -> str:
    """JSON, as a text, for a value that is no item: `value_kept()` gives back the same, of the same type.

    A text, for databases do not keep the order of JSON's members, nor a float of many digits. TypeError where the value
    has no such form, or a part of it is a model instance: its row may be another one, or none, by then. ValueError for
    one that is nested too deep.
    """
    try:
        stored = item_to_json(value)
    except NoForm as error:
        raise TypeError(
            f"a {error.kind} cannot be kept as JSON; allowed: plain data, dates, Decimal, UUID, and dataclasses, named "
            f"tuples and Enums that are defined at the top of a module"
        ) from None
    if (row := _row_in(stored)) is not None:
        raise TypeError(f"a {row.label} is a row, which may have changed by then; give its primary key instead")
    return json.dumps(stored, ensure_ascii=False, separators=(",", ":"))


def value_kept(text: str) -> Any:
    """The value again. TypeError where a class that it was made of is not known any more."""
    return item_from_json(json.loads(text))


def _row_in(stored: Any) -> RowReference | None:
    """The first row that is a part of what is stored."""
    if (row := row_reference(stored)) is not None:
        return row
    members = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ()
    return next(filter(None, map(_row_in, members)), None)


_FORMS: dict[type, _Form] = {
    tuple: _Form(list, tuple),
    set: _Form(list, set),
    frozenset: _Form(list, frozenset),
    dict: _Form(lambda value: [list(pair) for pair in value.items()], dict),
    date: _Form(date.isoformat, date.fromisoformat),
    datetime: _Form(datetime.isoformat, datetime.fromisoformat),
    time: _Form(time.isoformat, time.fromisoformat),
    timedelta: _Form(lambda value: [value.days, value.seconds, value.microseconds], lambda parts: timedelta(*parts)),
    Decimal: _Form(str, Decimal),
    UUID: _Form(str, UUID),
    bytes: _Form(bytes.hex, bytes.fromhex),
}
_BY_NAME = {cls.__name__: form for cls, form in _FORMS.items()}
_READ: dict[str, Callable[[Any], Any]] = {
    "int": lambda value: int(value, 16),
    "float": float,
    "text": lambda value: bytes.fromhex(value).decode("utf-8", "surrogatepass"),
    "Path": Path,
}


def _typed(item: Any) -> dict[str, Any]:
    cls = type(item)
    if cls in _FORMS:
        return {TYPE: cls.__name__, VALUE: _to_json(_FORMS[cls].dump(item))}
    if isinstance(item, Path):
        return {TYPE: "Path", VALUE: str(item)}
    if "<locals>" not in cls.__qualname__:
        if isinstance(item, Enum):
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: item.name}
        if is_dataclass(item):
            values = {each.name: _to_json(getattr(item, each.name)) for each in fields(item) if each.init}
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: values}
        if isinstance(item, tuple) and hasattr(item, "_asdict"):
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: _to_json(item._asdict())}
    raise NoForm(cls)


def _restored(name: str, value: Any) -> Any:
    if name in _BY_NAME:
        return _BY_NAME[name].load(value)
    if name in _READ:
        return _READ[name](value)
    cls = _class(name)
    if issubclass(cls, Enum):
        return cls[value]
    if is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        return cls(**value)
    raise TypeError(f"the stored item is a {name}, which is no dataclass, named tuple or Enum any more")


def _class(name: str) -> type:
    """A class of a module that is loaded: what is stored never imports anything."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise TypeError(
            f"the stored item is a {name}, which does not exist any more; import its module in the command's"
        )
    return found
