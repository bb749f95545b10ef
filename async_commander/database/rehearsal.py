"""Dry runs: what they write, on any database and by any path, is counted and rolled back.

There is one mechanism for all paths, at the connection. While a rehearsal is open, each connection that its code uses
is in a transaction that Django does not know how to commit, as in a TestCase; it begins with the first use:

    code of the rehearsal ─▶ connection ─▶ Stretch.see_to() ─▶ Part: BEGIN … ROLLBACK

A stretch is what one thread does for one item, or in one call of another hook; it has a part for each database. On a
lane it is led by the transaction of the lane; on a thread that the project's own code uses it begins with the first use
of a connection. `dry_runs` says how such a thread is known.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import IntegrityError, NotSupportedError, connections, transaction

from async_commander.results import CREATED, DELETED, UPDATED, UPSERTED

from .connections import is_ours
from .outage import EndedByItself
from .sqlite import is_sqlite, needs_write_lock
from .statements import text_of
from .transaction import LaneTransaction, ends_a_transaction
from .written import Written, table_of, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from django.db.backends.base.base import BaseDatabaseWrapper

GATE_PATIENCE = 30.0
"""Seconds for which a thread of the project's own waits for SQLite's only lock."""

Counts = Counter[tuple[str, str]]
"""Rows by table and verb."""
Figures = dict[str, dict[str, int]]
"""Rows by the label of their model (their table, where it has none), and by verb."""

_VERBS = (CREATED, UPSERTED, UPDATED, DELETED)
_COMMITS_BY_ITSELF = re.compile(
    r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+"
    r"(ALTER|(?:CREATE|DROP)\s+(?!TEMPORARY)|RENAME|TRUNCATE|(?:UN)?LOCK\s+TABLES|GRANT|REVOKE|ANALYZE|OPTIMIZE|REPAIR|"
    r"LOAD\s+INDEX|SET\s+(?:SESSION\s+|@@)?autocommit|START\s+TRANSACTION|BEGIN)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements that commit what was done before them, and themselves, on MySQL and MariaDB."""
_KEEP_ALL = (
    "SELECT LOWER(t.table_name) FROM information_schema.tables t JOIN information_schema.engines e"
    " ON e.engine = t.engine WHERE t.table_schema = DATABASE() AND e.transactions <> 'YES'"
)
"""Tables there that roll nothing back, as those of MyISAM."""


_SAVEPOINT = "async_commander_alone"
_ENDS_SAVEPOINT = re.compile(r"\s*(?:RELEASE|ROLLBACK)\b", re.IGNORECASE)


class _Thread(threading.local):
    stretch: Stretch | None = None
    """The one that this thread is in."""
    started_in: Stretch | None = None
    """The one of all that this thread does, which code of a rehearsal has started."""
    loose: Stretch | None = None
    """The one of which only the context tells, so that nobody knows where it ends."""


_here = _Thread()
_rehearsal: ContextVar[Rehearsal | None] = ContextVar("async_commander_rehearsal", default=None)
"""Of the run that this code is part of."""


class Rehearsal:
    """One dry run: to be open for as long as its code may use a database.

    Memory: a counter for each table, and a transaction for each connection in use.
    """

    def __init__(self) -> None:
        self.over = False
        self._mutex = threading.Lock()
        self._counts: Counts = Counter()
        self._loose: list[Stretch] = []
        self._led = 0
        """Stretches that are open on lanes. A plain function that was left on its thread may still be in one."""
        self._at_the_end: Callable[[], object] | None = None
        self._unsafe: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.over = True
        with self._mutex:
            loose, self._loose = self._loose, []
        for stretch in loose:
            stretch.drop()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The code of this context, and of those copied from it, is the rehearsal's."""
        token = _rehearsal.set(self)
        try:
            yield
        finally:
            _rehearsal.reset(token)

    @contextmanager
    def on_this_thread(self, *, ours: bool = False) -> Iterator[None]:
        """One stretch: all that this thread does in the block. Raises what a COMMIT would have raised."""
        stretch = Stretch(self, _Own if ours else _Foreign)
        around, _here.stretch = _here.stretch, stretch
        try:
            with stretch.to_its_end():
                stretch.see_to_blocks()
                yield
        finally:
            _here.stretch = around

    @contextmanager
    def of_this_thread(self) -> Iterator[None]:
        """The same for a thread that is begun with the block; should it be one of a run's own, that goes before."""
        _here.started_in = Stretch(self, _Foreign)
        with _here.started_in.to_its_end():
            yield

    def would_write(self) -> Figures:
        """What would have been written so far."""
        models = apps.get_models(include_auto_created=True)
        labels = {model._meta.db_table: model._meta.label for model in models if not model._meta.proxy}
        ours = {model._meta.db_table for model in apps.get_app_config("async_commander").get_models()}
        figures: dict[str, Counter[str]] = {}
        for (table, verb), rows in self.counts().items():
            if table not in ours:
                figures.setdefault(labels.get(table, table), Counter())[verb] += rows
        return {
            label: {verb: found[verb] for verb in _VERBS if found[verb]} for label, found in sorted(figures.items())
        }

    def counts(self) -> Counts:
        """The same by table."""
        with self._mutex:
            return self._counts.copy()

    def add(self, counts: Counts) -> None:
        """Such rows, by table and verb, would have been committed. Any thread."""
        with self._mutex:
            self._counts.update(counts)

    def loose(self) -> Stretch:
        """A stretch that ends with the rehearsal at the latest."""
        stretch = Stretch(self, _Foreign)
        with self._mutex:
            self._loose.append(stretch)
        return stretch

    def led(self, change: int) -> None:
        """One more stretch is open on a lane, or one less."""
        with self._mutex:
            self._led += change
            call = self._at_the_end if not self._led else None
        if call is not None:
            call()

    def at_the_end(self, call: Callable[[], object]) -> None:
        """Have this called once the rehearsal is over and the last of them is closed."""
        with self._mutex:
            self._at_the_end = call
        self.led(0)

    def tables_that_keep_all(self, connection: BaseDatabaseWrapper) -> frozenset[str]:
        """Those of a database that are no part of a transaction."""
        if connection.vendor != "mysql":
            return frozenset()
        if connection.alias not in self._unsafe:
            with connection.cursor() as cursor:
                cursor.execute(_KEEP_ALL)
                self._unsafe[connection.alias] = frozenset(name for (name,) in cursor.fetchall())
        return self._unsafe[connection.alias]


def rehearsal_here() -> Rehearsal | None:
    """The dry run that this code is part of, if it is."""
    if _here.stretch is not None:
        return _here.stretch.rehearsal
    if is_ours():  # the recorder's, say
        return None
    if _here.started_in is not None:
        return _here.started_in.rehearsal
    rehearsal = _rehearsal.get()
    return None if rehearsal is None or rehearsal.over else rehearsal


def stretch_here() -> Stretch | None:
    """The stretch that this code is part of; one is begun where only the context tells that there is one."""
    if _here.stretch is not None:
        return _here.stretch
    if is_ours():
        return None
    if _here.started_in is not None:
        return _here.started_in
    rehearsal, loose = rehearsal_here(), _here.loose
    if loose is not None and loose.rehearsal is not rehearsal:  # this thread belongs to many
        loose.count()
        loose.roll_back()
        _here.loose = None
    if rehearsal is not None and _here.loose is None:
        _here.loose = rehearsal.loose()
    return _here.loose


class Stretch:
    """What one thread does without a COMMIT: a transaction in each database that it uses, from its first use on."""

    def __init__(self, rehearsal: Rehearsal, kind: Callable[[Stretch, str], Part]) -> None:
        self.rehearsal = rehearsal
        self.parts: dict[str, Part] = {}
        self._kind = kind

    def see_to(self, connection: BaseDatabaseWrapper) -> None:
        """A connection of this thread is about to be used, and open: begin on it, where that is not done yet."""
        alias = connection.alias
        if connections[alias] is not connection:
            if not any(isinstance(getattr(one, "__self__", None), Part) for one in connection.execute_wrappers):
                raise NotSupportedError(
                    f"A second connection to {alias!r} beside connections[{alias!r}] (connection.copy(), "
                    "create_connection()) is no part of the dry run: what it writes would be kept. Use the first one, "
                    "or leave it out where self.dry_run is true."
                )
            return
        if alias in self.parts:
            return
        part = self.parts[alias] = self._kind(self, alias)
        try:
            part.open()
        except BaseException:
            self.parts.pop(alias, None)
            raise

    def see_to_blocks(self) -> None:
        """Begin where somebody, a test, has a block open: one in it, without a savepoint, would begin unheard."""
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                self.see_to(connection)

    def begin_anew(self, connection: BaseDatabaseWrapper) -> None:
        """Somebody has closed this connection, outside of any block of theirs: it may be opened again, as ever."""
        part = self.parts.get(connection.alias)
        if part is not None and part.may_begin_anew and connections[connection.alias] is connection:
            part.keep_counted()
            LaneTransaction.roll_back(part)
            self.parts.pop(connection.alias, None)

    @contextmanager
    def to_its_end(self) -> Iterator[None]:
        """For the block; on the thread whose stretch it is. Raises what a COMMIT would have raised."""
        try:
            yield
            self.check()
            self.count()
        finally:
            self.roll_back()

    def check(self) -> None:
        """Raise what the COMMIT of one of the transactions would have raised."""
        for part in list(self.parts.values()):
            part.recover()
            part.check_constraints()

    def count(self) -> None:
        """What was written would have been committed."""
        for part in self.parts.values():
            part.keep_counted()

    def roll_back(self) -> None:
        """Roll all of it back, the newest first. Raises nothing."""
        for part in list(reversed(self.parts.values())):
            LaneTransaction.roll_back(part)
        self.parts.clear()  # not before: what rolls back uses the connection

    def drop(self) -> None:
        """From another thread: close the connections, so that their databases roll back what was not committed."""
        for part in self.parts.values():
            part.keep_counted()
            part.drop_from_afar()
        self.parts.clear()


class Part(LaneTransaction):
    """One transaction that is never committed, on one connection.

    Outside of a rehearsal there would be many of them, `in_one` aside: each statement of the project's, or each of its
    outermost blocks. One that fails takes back itself alone, also where somebody catches the error: each begins with a
    savepoint.
    """

    def __init__(self, rehearsal: Rehearsal, alias: str, *, in_one: bool = False, **words: Any) -> None:
        super().__init__(alias, **words)
        self.rehearsal = rehearsal
        self._in_one = in_one
        self._begun_by: object = None
        """The block that the savepoint is of; itself, where that is a statement."""
        self._mark: Counts | None = None
        """What was counted at the savepoint; None where there is none."""
        self._written = Written()
        self._connection: BaseDatabaseWrapper | None = None
        self._thread = threading.get_ident()
        self._unsafe: frozenset[str] = frozenset()

    @property
    def may_begin_anew(self) -> bool:
        """Whether nobody has a block open in it."""
        connection = connections[self.alias]
        return self._inner_from is not None and len(connection.atomic_blocks) <= self._inner_from[1]

    def check_constraints(self) -> None:
        """Raise IntegrityError where a COMMIT would. What is broken already would have been rolled back."""
        connection, written = connections[self.alias], self._written.tables
        broken = not connection.in_atomic_block or connection.needs_rollback or connection.closed_in_transaction
        if not written or broken or connection.connection is None:
            return
        if is_sqlite(connection):
            thinned = self._written.thinned
            referring = {
                model._meta.db_table
                for model in (apps.get_models(include_auto_created=True) if thinned else ())
                for field in model._meta.concrete_fields
                if field.remote_field is not None and field.remote_field.model._meta.db_table in thinned
            }
            self._check_references(connection, sorted(written | referring))
        elif connection.vendor != "mysql":  # which has checked them before
            connection.check_constraints()

    def _check_references(self, connection: Any, tables: list[str]) -> None:
        """SQLite tells nobody what is deferred: the tables are read. What was wrong before is nobody's fault."""

        def violations() -> set[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                found = set()
                for table in tables:
                    cursor.execute(f"PRAGMA foreign_key_check({connection.ops.quote_name(table)})")
                    found.update(cursor.fetchall())
                return found

        found = violations()
        if not found:
            return
        LaneTransaction.roll_back(self)
        for table, key, parent, _ in sorted(found - violations(), key=str):
            raise IntegrityError(
                f"FOREIGN KEY constraint failed: row {key} of {table} refers to a row of {parent} that is not there."
            )

    def keep_counted(self) -> None:
        """What was written so far would have been committed, and is counted once."""
        self.rehearsal.add(self._written.counts)
        self._written = Written()

    def drop_from_afar(self) -> None:
        """Close the connection of another thread, and forget what was begun on it."""
        connection = self._connection
        if connection is None:
            return
        connection.inc_thread_sharing()
        try:
            with suppress(Exception):
                connection.close()
        finally:
            connection.dec_thread_sharing()
            connection.connection = None
            connection.in_atomic_block = connection.closed_in_transaction = connection.needs_rollback = False
            connection.savepoint_ids.clear()
            connection.atomic_blocks.clear()
        if self._gate is not None and self._began_at is not None:
            self._gate.taken_from(self._thread)

    def _block(self) -> AbstractContextManager[None]:
        return _Outermost(self.alias)

    def _open(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        super()._open(connection)
        self._unsafe = self.rehearsal.tables_that_keep_all(connection)
        self._stack.enter_context(connection.execute_wrapper(self._rehearsed))

    def _rehearsed(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's own signature
        connection = context["connection"]
        text = text_of(sql, connection.connection)
        if not is_sqlite(connection) and ";" in text and ends_a_transaction(text, connection.vendor):
            self.lost = EndedByItself("sent a COMMIT among other statements, which was refused")
            raise self.lost
        if connection.vendor == "mysql" and (found := _COMMITS_BY_ITSELF.match(text)):
            raise NotSupportedError(
                f"{found[1].upper()}: {connection.display_name} commits such a statement at once, with all before it, "
                "and a dry run may commit nothing. Leave it out where self.dry_run is true."
            )
        if (
            self._unsafe
            and (found := writing(text, connection.vendor)) is not None
            and table_of(found).lower() in self._unsafe
        ):
            raise NotSupportedError(
                f"The table {table_of(found)} rolls nothing back (its engine has no transactions): a dry run cannot "
                "write there. Convert it to InnoDB, or leave it out where self.dry_run is true."
            )
        if self._in_one or self._inner_from is None or _ENDS_SAVEPOINT.match(text):
            return self._written.counted(execute, sql, params, many, context)
        alone = self._begin_alone(connection, text)
        try:
            return self._written.counted(execute, sql, params, many, context)
        except Exception:
            if alone:
                self._take_back(connection)
            raise

    def _begin_alone(self, connection: BaseDatabaseWrapper, text: str) -> bool:
        """Before a statement: whether it would be a transaction of its own. One begins here, or goes on."""
        _, blocks = self._inner_from or (0, 0)
        outermost = connection.atomic_blocks[blocks] if len(connection.atomic_blocks) > blocks else None
        if outermost is not None and outermost is self._begun_by:
            return False
        if outermost is None or not any(connection.savepoint_ids[self._inner_from[0] :]):  # type: ignore[index]  # seen above
            self.recover()
            if needs_write_lock(text) or connection.vendor == "postgresql":  # elsewhere who only reads breaks nothing
                ends = "" if self._mark is None else f"RELEASE SAVEPOINT {_SAVEPOINT}"
                self._send(connection, ends, f"SAVEPOINT {_SAVEPOINT}")
                self._mark, self._begun_by = self._written.mark(), outermost or self
        return outermost is None

    def recover(self) -> None:
        """Before something begins: take back what was broken, which was a transaction of its own."""
        connection = connections[self.alias]
        is_open = self._inner_from is not None and not connection.closed_in_transaction
        if not self._in_one and is_open and connection.needs_rollback:
            connection.needs_rollback = False
            self._take_back(connection)

    def _take_back(self, connection: BaseDatabaseWrapper) -> None:
        if self._mark is not None:
            self._send(connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            self._written.counts = self._mark.copy()

    def _send(self, connection: BaseDatabaseWrapper, *statements: str) -> None:
        """Past Django, to which there are no such savepoints."""
        with connection.wrap_database_errors:
            cursor = cast("Any", connection.connection).cursor()
            try:
                for statement in filter(None, statements):
                    cursor.execute(statement)
            finally:
                cursor.close()


class _Outermost:
    """A block in which others may be `durable`, as in a TestCase.

    The mark under their savepoints tells one that was begun together with it, before the connection was open, that it
    is not the outermost itself.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._block = transaction.Atomic(alias, savepoint=True, durable=False)
        self._block._from_testcase = True  # type: ignore[attr-defined]  # noqa: SLF001 - as Django's own TestCase does
        self._marks: list[Any] = []

    def __enter__(self) -> None:
        self._block.__enter__()
        self._marks = cast("list[Any]", connections[self._alias].savepoint_ids)
        self._marks.append(None)  # Django's own sign of a block without a savepoint

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if connections[self._alias].savepoint_ids is self._marks and self._marks and self._marks[-1] is None:
            self._marks.pop()
        self._block.__exit__(kind, error, trace)


class RehearsedTransaction(Part):
    """Stands in for the transaction of a lane: what would be committed is checked and counted, and rolled back.

    Its stretch is all that the lane does from its begin to its end, on any database.
    """

    def __init__(self, rehearsal: Rehearsal, alias: str, **words: Any) -> None:
        super().__init__(rehearsal, alias, **words)
        others = {name: words[name] for name in ("shared", "files", "hurry") if name in words}
        self._settings: list[tuple[BaseDatabaseWrapper, dict[str, Any]]] = []
        self._stretch = Stretch(rehearsal, lambda stretch, other: _Own(stretch, other, **others))
        self._around: Stretch | None = None
        self._is_led = False

    def open(self) -> None:
        """See LaneTransaction."""
        self._stretch.parts[self.alias] = self
        self._around, _here.stretch = _here.stretch, self._stretch
        self._is_led = True
        self.rehearsal.led(1)
        for alias in connections:  # a cursor on a server would end with its transaction: what it gives is read at once
            one = connections[alias]
            if one.vendor == "postgresql" and not one.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
                self._settings.append((one, one.settings_dict))
                one.settings_dict = {**one.settings_dict, "DISABLE_SERVER_SIDE_CURSORS": True}
        super().open()
        self._stretch.see_to_blocks()

    @property
    def may_begin_anew(self) -> bool:
        """An item that closes its connection has ended its transaction: it hears that."""
        return False

    def commit(self) -> None:
        """Raise what COMMIT would raise, of any of the databases; else count, and roll back."""
        self.recover()
        self.check()
        try:
            self._stretch.check()
        except BaseException:
            self.roll_back()
            raise
        self._stretch.count()
        self.roll_back()
        self.committed = True  # as far as anybody asks

    def roll_back(self) -> None:
        """See LaneTransaction; all other databases first."""
        self._stretch.roll_back()
        super().roll_back()  # of one that could not begin
        for one, settings in self._settings:
            one.settings_dict = settings
        self._settings.clear()
        if _here.stretch is self._stretch:
            _here.stretch = self._around
        if self._is_led:
            self._is_led = False
            self.rehearsal.led(-1)


class _Own(Part):
    """On another database than the one that leads, on a thread of ours or one that is shared with us."""

    def __init__(self, stretch: Stretch, alias: str, **words: Any) -> None:
        super().__init__(stretch.rehearsal, alias, gate_patience=GATE_PATIENCE, **words)


class _Foreign(_Own):
    """On a thread of the project's own: its connections are used as they are."""

    def _usable(self) -> BaseDatabaseWrapper:
        return connections[self.alias]
