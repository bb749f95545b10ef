"""Objects as they were before they were written: after a rollback they must not remember what never happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .layout import concrete, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model


class Undo:
    """What one write changes in objects: keys, state, references, values of the database and of `pre_save()`.

    A write sets them before its transaction is committed. An object that kept them after a rollback would be inserted
    under a key that is somebody else's by now, and its children would refer to that. Files that were stored stay
    stored, and their objects name them: nothing is stored twice.
    """

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: dict[int, tuple[Model, dict[str, Any], bool, str | None, dict[str, Any]]] = {}

    def remember(self, objects: Iterable[Model]) -> None:
        """Call this before the objects are changed; of each, the first call counts."""
        before = self._before
        for obj in objects:
            if id(obj) not in before:
                state = obj._state
                before[id(obj)] = obj, obj.__dict__.copy(), state.adding, state.db, state.fields_cache.copy()

    def restore(self) -> None:
        """Put all objects back into the state they were in; done once, it does nothing any more.

        Only what the write may have set is put back: an object may be shared with items that are still at work.
        """
        for obj, before, adding, db, cache in self._before.values():
            layout, values, state = layout_of(concrete(obj)), obj.__dict__, obj._state
            changed: Any = layout.changed_by_writing
            if layout.changes_anything or layout.is_patched:
                changed = (before.keys() | values.keys()) - layout.kept
            for name in changed:
                if name in before:
                    values[name] = before[name]
                else:
                    values.pop(name, None)
            state.adding, state.db, state.fields_cache = adding, db, cache
        self._before.clear()
