"""Objects as they were before they were written: after a rollback they must not remember what never happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .layout import concrete, layout_of

if TYPE_CHECKING:
    from django.db.models import Model


class Snapshot:
    """Key, state, foreign keys and database-made values of one object.

    `bulk_create` sets them before the transaction is committed. An object that kept them after a rollback would be
    inserted under a key that is somebody else's by now, and its children would refer to that.
    """

    __slots__ = ("_adding", "_cache", "_db", "_obj", "_values")

    def __init__(self, obj: Model) -> None:
        values, state, layout = obj.__dict__, obj._state, layout_of(concrete(obj))
        self._obj = obj
        self._values = {name: values[name] for name in layout.changed_by_writing if name in values}
        self._adding, self._db = state.adding, state.db
        self._cache: dict[str, Any] | None = dict(state.fields_cache) if layout.references else None

    @property
    def identity(self) -> int:
        """The `id()` of the object, which lives as long as this."""
        return id(self._obj)

    def restore(self) -> None:
        """Put the object back into the state it was in."""
        values, state = self._obj.__dict__, self._obj._state
        values.update(self._values)
        state.adding, state.db = self._adding, self._db
        if self._cache is not None:
            state.fields_cache = dict(self._cache)
