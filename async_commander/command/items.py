"""Items as the ledger keeps them: JSON that gives back the same item, of the same type."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db.models import Model

from .identity import saved_pk
from .values import UNSTORABLE

if TYPE_CHECKING:
    from collections.abc import Callable

TYPE, VALUE = "$type", "value"


class ItemGone(LookupError):
    """The row that an item stands for is not there any more."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are kept: `dump` makes JSON, `load` takes it back."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def item_to_json(item: Any) -> Any:
    """JSON for an item: plain values as they are, model instances as {"model": label, "pk": …}, others with their type.

    TypeError where an item has no such form: yield plain data, dataclasses or saved model instances.
    """
    if isinstance(item, Model):
        return {"model": item._meta.label, "pk": item_to_json(saved_pk(item))}
    if type(item) is str:
        return {TYPE: "text", VALUE: item.encode("utf-8", "surrogatepass").hex()} if UNSTORABLE.search(item) else item
    if type(item) in {int, float, bool, type(None)}:
        return item
    if type(item) is list:
        return [item_to_json(member) for member in item]
    if type(item) is dict and all(type(key) is str for key in item):
        plain = {key: item_to_json(value) for key, value in item.items()}
        pairs = [[item_to_json(key), value] for key, value in plain.items()]
        return {TYPE: "dict", VALUE: pairs} if _looks_special(plain) else plain
    return _typed(item)


def item_from_json(stored: Any, using: str | None = None) -> Any:
    """The item again. A model instance is read from its table, so call it where ORM calls are allowed.

    ItemGone where that row is not there any more; TypeError where a class is not known any more.
    """
    if isinstance(stored, list):
        return [item_from_json(member, using) for member in stored]
    if not isinstance(stored, dict):
        return stored
    if stored.keys() == {"model", "pk"}:
        return _row(stored["model"], item_from_json(stored["pk"], using), using)
    if TYPE in stored:
        return _restored(stored[TYPE], item_from_json(stored[VALUE], using))
    return {key: item_from_json(value, using) for key, value in stored.items()}


def _looks_special(plain: dict[str, Any]) -> bool:
    return TYPE in plain or plain.keys() == {"model", "pk"} or any(map(UNSTORABLE.search, plain))


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


def _typed(item: Any) -> dict[str, Any]:
    cls = type(item)
    if cls in _FORMS:
        return {TYPE: cls.__name__, VALUE: item_to_json(_FORMS[cls].dump(item))}
    if isinstance(item, Path):
        return {TYPE: "Path", VALUE: str(item)}
    if "<locals>" not in cls.__qualname__:
        if isinstance(item, Enum):
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: item.name}
        if is_dataclass(item):
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: _field_values(item)}
        if isinstance(item, tuple) and hasattr(item, "_asdict"):
            return {TYPE: f"{cls.__module__}:{cls.__qualname__}", VALUE: item_to_json(item._asdict())}
    raise TypeError(
        f"an item of type {cls.__module__}.{cls.__qualname__} cannot be kept as JSON; yield plain data, saved model "
        f"instances, or a dataclass, a named tuple or an Enum defined at the top of a module"
    )


def _field_values(item: Any) -> dict[str, Any]:
    return {each.name: item_to_json(getattr(item, each.name)) for each in fields(item) if each.init}


def _restored(name: str, value: Any) -> Any:
    if name in _BY_NAME:
        return _BY_NAME[name].load(value)
    if name == "text":
        return bytes.fromhex(value).decode("utf-8", "surrogatepass")
    if name == "Path":
        return Path(value)
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


def _row(label: str, pk: Any, using: str | None) -> Model:
    try:
        model = apps.get_model(label)
    except LookupError:
        raise ItemGone(f"there is no model {label} any more") from None
    row: Model | None = model._base_manager.using(using).filter(pk=pk).first()
    if row is None:
        raise ItemGone(f"there is no {label} with the primary key {pk!r} any more")
    return row
