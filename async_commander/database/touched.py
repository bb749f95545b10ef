"""Which objects a run has touched: noted where they are written, and kept only where that is committed.

A note belongs to the transaction that it was made in. Until that ends it stands among the connection's `on_commit`
callbacks, so that Django drops it where a savepoint or the whole is rolled back. What stands when an item's transaction
is about to commit is written there, into the same COMMIT; what was committed without us (in autocommit, or in another
database) waits in memory for the next one.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction

from async_commander.results import ObjectAction

from .layout import concrete, has_key, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from django.db.models import Model

ID_LENGTH: Final = 255
"""Characters of an object's key that are kept."""
_LONG_ID: Final = 180
"""So many of a longer one, and its digest."""
LARGEST_NOTE: Final = 1_000
"""Objects that wait in memory for the end of their transaction: what is more is written before it."""
_NEVER: Final = frozenset({"async_commander", "contenttypes"})
"""Apps whose rows are about others."""


class Touched(NamedTuple):
    """One object, and what was done to it."""

    model: type[Model]
    """The concrete one: a row has one history, whichever proxy it is written by."""
    key: str
    action: ObjectAction


def key_text(model: type[Model], key: Any) -> str:
    """A primary key as text: the same in every database. A composite one is a JSON list."""
    fields, parts = model._meta.pk_fields, key if isinstance(key, tuple | list) else [key]
    values = [field.get_prep_value(part) for field, part in zip(fields, parts, strict=True)]
    text = str(values[0]) if len(values) == 1 else json.dumps(values, cls=DjangoJSONEncoder)
    if len(text) <= ID_LENGTH:
        return text
    return f"{text[:_LONG_ID]}…{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def key_of_text(model: type[Model], text: str) -> Any:
    """The key that such a text stands for; of one that was cut, what no row has."""
    fields = model._meta.pk_fields
    if len(fields) == 1:
        return fields[0].to_python(text)
    return tuple(field.to_python(part) for field, part in zip(fields, json.loads(text), strict=True))


class Recording:
    """What one run touches, on its way into the run's database.

    `write` writes what it is given on the current thread, into the connection to `alias`; doing that again does
    nothing. With `everything` all models are recorded, else those that say so (`LoggedModel`). `shared`: the run is in
    its caller's transaction. `as_ledger` is entered where something is written beside the rows of an item.
    """

    def __init__(
        self,
        alias: str,
        run_id: int,
        write: Callable[[Collection[Touched]], None],
        *,
        everything: bool,
        shared: bool = False,
        as_ledger: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.alias = alias
        self.run_id = run_id
        self.everything = everything
        self.shared = shared
        self._write = write
        self._as_ledger = as_ledger
        self._plans: dict[type[Model], tuple[type[Model], ...]] = {}
        self._mutex = threading.Lock()
        self._waiting: dict[Touched, None] = {}
        self._stands = False
        """Whether a note was made in a transaction of the caller's, which nobody may be about to commit."""

    def of(self, model: type[Model]) -> Recording | None:
        """Itself, where objects of this model are recorded."""
        return self if self._plan(model) else None

    # --- what is touched, on whichever thread writes it

    def touch(
        self, alias: str, action: ObjectAction, objects: Iterable[Model], fields: Collection[str] | None = None
    ) -> None:
        """These rows were written in that database, in the transaction that this thread has open there, if any.

        With an object its parents are touched that have tables of their own; where only `fields` were written, those
        parents that have one of them. Django reports each row that it deletes.
        """
        touched: list[Touched] = []
        for obj in objects:
            plan, own = self._plan(type(obj)), concrete(obj)
            if own._meta.auto_created:
                touched += self._ends(obj)
                continue
            for model in plan:
                keys = [getattr(obj, field.attname) for field in model._meta.pk_fields]
                if has_key(obj) and (model is own or _is_written(model, action, fields)):
                    touched.append(Touched(model, key_text(model, keys), action))
        self._note(alias, touched)

    def touch_keys(self, alias: str, action: ObjectAction, model: type[Model], keys: Iterable[Any]) -> None:
        """The same for rows of which only the keys are known."""
        own = concrete(model)
        if own in self._plan(model):
            self._note(alias, [Touched(own, key_text(own, key), action) for key in keys])

    def link(self, alias: str, action: ObjectAction, objects: Iterable[Model]) -> None:
        """The same by hand, of whichever model. Outside of a transaction it counts at once."""
        touched = [Touched(concrete(obj), key_text(concrete(obj), obj.pk), action) for obj in objects]
        if connections[alias].in_atomic_block:
            self._note(alias, touched)
        else:
            self._committed(touched)

    def _ends(self, link: Model) -> Iterator[Touched]:
        """A row of a many-to-many table that Django made is no object of its own: both of its ends are linked."""
        for field in layout_of(concrete(link)).references:
            end = concrete(field.related_model)
            if end in self._plan(end):
                yield Touched(end, key_text(end, getattr(link, field.attname)), ObjectAction.LINKED)

    def _plan(self, kind: type[Model]) -> tuple[type[Model], ...]:
        """Of an object of this class, the models whose rows are recorded."""
        plan = self._plans.get(kind)
        if plan is None:
            if kind._meta.auto_created:
                ends = (field.related_model for field in layout_of(concrete(kind)).references)
                plan = tuple({concrete(end) for end in ends if self._plan(end)})
            else:
                # An object has a row in the table of its own model, and in those that it inherits from.
                own = concrete(kind)
                plan = tuple(
                    model
                    for model in dict.fromkeys([own, *map(concrete, own._meta.get_parent_list())])
                    if model._meta.app_label not in _NEVER
                    and (self.everything or is_logged(model) or (model is own and is_logged(kind)))
                )
            self._plans[kind] = plan
        return plan

    # --- in which transaction

    def _note(self, alias: str, touched: Sequence[Touched]) -> None:
        if not touched:
            return
        connection = connections[alias]
        if connection.in_atomic_block:
            self._stands = True
            # The last callback, where that is ours, and of the same savepoint; else a new one.
            savepoints, note, *_ = connection.run_on_commit[-1] if connection.run_on_commit else (None, None)
            if not isinstance(note, _Note) or note.recording is not self or savepoints != set(connection.savepoint_ids):
                note = _Note(self)
                transaction.on_commit(note, using=connection.alias)
            note.touched.update(dict.fromkeys(touched))
            if len(note.touched) >= LARGEST_NOTE and alias == self.alias:
                self._write_now(note.touched)  # a savepoint that is rolled back takes this along, too
                note.touched.clear()
        elif connection.get_autocommit() or alias != self.alias:
            self._committed(touched)
        else:  # nobody reports a COMMIT that the project sends itself: it takes this along
            self._write_now(touched)

    def _write_now(self, touched: Iterable[Touched]) -> None:
        with self._as_ledger():
            self._write(_without_repeats(touched))

    def _committed(self, touched: Iterable[Touched]) -> None:
        with self._mutex:
            self._waiting.update(dict.fromkeys(touched))

    # --- what is kept, on whichever thread has a transaction of the run open

    @property
    def is_waiting(self) -> bool:
        """Whether there may be something to be kept that no item takes along."""
        return bool(self._waiting) or (self.shared and self._stands)

    def keep(self, *, of_this_block: bool = True) -> None:
        """Write what was touched in the transaction that is open, and what was committed since the last time.

        `of_this_block`: only what stands or falls with it, where it is a savepoint in somebody else's.
        """
        if not of_this_block:
            self._stands = False
        standing: list[Touched] = []
        for connection in connections.all(initialized_only=True) if self.shared else [connections[self.alias]]:
            block = set(connection.savepoint_ids) if of_this_block else set()
            rest = []
            for callback in connection.run_on_commit:
                savepoints, note, *_ = callback
                if isinstance(note, _Note) and note.recording is self and block <= savepoints:
                    standing += note.touched
                else:
                    rest.append(callback)
            connection.run_on_commit = rest
        with self._mutex:
            waiting = list(self._waiting)
        if standing or waiting:
            self._write(_without_repeats([*waiting, *standing]))
        if waiting:
            transaction.on_commit(partial(self._forget, waiting), using=self.alias)

    def _forget(self, touched: Iterable[Touched]) -> None:
        with self._mutex:
            for one in touched:
                self._waiting.pop(one, None)


class Unrecorded(Recording):
    """Of a dry run: it touches nothing for good, and a link by hand is no error."""

    def __init__(self, alias: str, run_id: int) -> None:
        super().__init__(alias, run_id, lambda _: None, everything=False)

    def of(self, model: type[Model]) -> None:
        """Nobody hears of any model."""

    def _note(self, alias: str, touched: Sequence[Touched]) -> None:
        """What other runs of this process listen for is heard here, too."""

    def _committed(self, touched: Iterable[Touched]) -> None:
        """By hand."""


class _Note:
    """What was touched in one savepoint; called when that is committed."""

    __slots__ = ("recording", "touched")

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.touched: dict[Touched, None] = {}

    def __call__(self) -> None:
        self.recording._committed(self.touched)  # noqa: SLF001 - a part of it


recording: ContextVar[Recording | None] = ContextVar("async_commander_recording", default=None)
"""Of the run that the current code belongs to; None where nothing is to be recorded."""


def recording_of(model: type[Model]) -> Recording | None:
    """Who is to hear of rows of this model that are written now. Nobody, mostly: that costs nothing."""
    current = recording.get()
    return None if current is None else current.of(model)


def is_logged(model: type[Model]) -> bool:
    """Whether a model says that it is recorded in every run."""
    return getattr(model, "_is_logged", False) is True


def _is_written(parent: type[Model], action: ObjectAction, fields: Collection[str] | None) -> bool:
    if action is ObjectAction.DELETED:
        return False
    return fields is None or any(field.name in fields for field in parent._meta.local_concrete_fields)


def _without_repeats(touched: Iterable[Touched]) -> list[Touched]:
    """Each once; what the run has created is not recorded as updated, too."""
    once = dict.fromkeys(touched)
    return [
        one
        for one in once
        if one.action is not ObjectAction.UPDATED or Touched(one.model, one.key, ObjectAction.CREATED) not in once
    ]
