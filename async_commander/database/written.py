"""What statements have written: how many rows of which table, by verb."""

from __future__ import annotations

import re
import sqlite3
import threading
import weakref
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import Error

from async_commander.results import CREATED, DELETED, UPDATED, UPSERTED

from .statements import bare, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAD = r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+"
_NAME = r'(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)'
_WRITES = re.compile(
    rf"{_LEAD}(?P<verb>INSERT|REPLACE|UPDATE|DELETE|TRUNCATE|MERGE|(?P<copy>COPY))\b"
    r"(?P<how>(?:\s+(?:OR\s+\w+|IGNORE|LOW_PRIORITY|QUICK|INTO|FROM|TABLE|ONLY)\b)*)"
    rf"\s+(?:{_NAME}\.)?(?P<table>{_NAME})(?(copy)\s*(?:\([^()]*\)\s*)?FROM\b)",
    re.IGNORECASE | re.DOTALL,
)
_WITH = re.compile(rf"{_LEAD}WITH\b", re.IGNORECASE | re.DOTALL)
_MAIN = re.compile(r"[()]|\b(?:INSERT|REPLACE|UPDATE|DELETE|MERGE|SELECT|VALUES)\b", re.IGNORECASE)
_SAVEPOINT = re.compile(r"\s*(SAVEPOINT|ROLLBACK\s+TO(?:\s+SAVEPOINT)?)\s+(\S+)", re.IGNORECASE)
_OVERWRITES = re.compile(r"\bON\s+CONFLICT\b.*\bDO\s+UPDATE\b|\bON\s+DUPLICATE\s+KEY\b", re.IGNORECASE | re.DOTALL)
_RETURNS = re.compile(r"\bRETURNING\b", re.IGNORECASE)
_VALUES = re.compile(r"\bVALUES\b(.*?)(?:\bON\s+(?:CONFLICT|DUPLICATE)\b|\bRETURNING\b|$)", re.IGNORECASE | re.DOTALL)
_PARENTHESES = re.compile(r"[()]")
_LITERALS = re.compile(r"'(?:[^']|'')*'")


class _Thread(threading.local):
    upserts = False


_thread = _Thread()


@contextmanager
def counted_as_upserts() -> Iterator[None]:
    """For the block, what this thread inserts and updates is part of upserts, of which the database has none."""
    before, _thread.upserts = _thread.upserts, True
    try:
        yield
    finally:
        _thread.upserts = before


class _Unread:
    """A statement on SQLite whose rows are known only when what it returns was read, or its cursor is let go.

    SQLite has written all of them before it returns the first one, and says how many when it has returned the last.
    """

    def __init__(self, key: tuple[str, str], cursor: Any, raw: Any, before: int, *, many: bool) -> None:
        self.key = key
        self.before = before
        """How many changes of this connection belong to other statements."""
        self._cursor = weakref.ref(cursor)  # to be let go as ever: an open one is in the way of a savepoint
        self._raw = raw
        self._many = many

    @property
    def changes(self) -> int:
        """All of this connection so far, with those of triggers."""
        return int(self._raw.total_changes)

    def rows(self, *, cursor: Any = None, at_the_end: bool = False) -> int | None:
        """How many it has written, for once; None while it is read. `cursor` is about to execute something else."""
        mine = self._cursor()
        over = mine is None or mine is cursor or at_the_end
        if mine is not None and over:
            with suppress(Error):  # it may be closed
                mine.fetchall()  # which nobody can read any more
        try:
            changes = self.changes - self.before
            if not changes:
                return 0 if over or self._nothing_is_read() else None
            return changes if self._many else int(self._raw.execute("SELECT changes()").fetchone()[0])
        except sqlite3.Error:  # the connection was closed with the cursor open: what the driver has seen of it
            return max(getattr(mine, "rowcount", 0), 0)

    def _nothing_is_read(self) -> bool:
        """Whether no statement that writes is open on this connection: SQLite begins no savepoint beside one."""
        try:
            self._raw.execute("SAVEPOINT async_commander_probe")
        except sqlite3.OperationalError:
            return False
        self._raw.execute("RELEASE async_commander_probe")
        return True


class Written:
    """The rows that one transaction has written so far, by table and verb. What a savepoint took back is left out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._marks: dict[str, Counter[tuple[str, str]]] = {}
        self._unread: list[_Unread] = []

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """What is over; to be asked for when nothing is read any more."""
        self._settle(at_the_end=True)
        return self._counts

    @counts.setter
    def counts(self, counts: Counter[tuple[str, str]]) -> None:
        self._counts = counts
        self._unread.clear()

    def mark(self) -> Counter[tuple[str, str]]:
        """What is to be left where all that follows is taken back."""
        self._settle()
        return self._counts.copy()

    @property
    def tables(self) -> set[str]:
        """In which it has written."""
        return {table for table, _ in self.counts}

    @property
    def thinned(self) -> set[str]:
        """Tables that have lost rows, which others may refer to."""
        return {table for table, verb in self.counts if verb == DELETED}

    def counted(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's own signature
        """Around each statement: see Django's `execute_wrapper`."""
        connection, cursor = context["connection"], context["cursor"]
        self._settle(cursor=cursor)
        before = getattr(connection.connection, "total_changes", 0)  # SQLite's
        result = execute(sql, params, many, context)
        text = text_of(sql, connection.connection)
        if (savepoint := _SAVEPOINT.match(text)) is not None:
            if savepoint[1][0] in "sS":
                self._marks[savepoint[2]] = self._counts.copy()
            else:
                self.counts = self._marks.get(savepoint[2], self._counts).copy()
            return result
        for other in self._unread:
            other.before = connection.connection.total_changes
        found = writing(text, connection.vendor)
        if found is None:
            return result
        key = table_of(found), _verb_of(found["verb"].upper(), found["how"], text)
        if connection.vendor == "sqlite" and (_RETURNS.search(text) or _WITH.match(text)):
            self._unread.append(_Unread(key, cursor, connection.connection, before, many=many))
            self._settle_when_closed(cursor)
        elif rows := _rows(text, key[1], many=many, cursor=cursor):
            self._counts[key] += rows
        return result

    def _settle_when_closed(self, cursor: Any) -> None:
        """Not later: the connection may be closed next."""
        close = cursor.close

        def closed() -> None:
            close()
            self._settle()

        if "close" not in vars(cursor):
            cursor.close = closed

    def _settle(self, *, cursor: Any = None, at_the_end: bool = False) -> None:
        """Count what was read, before SQLite forgets how much that was: with the next statement that writes."""
        for one in self._unread.copy():
            rows = one.rows(cursor=cursor, at_the_end=at_the_end)
            if rows is None:
                continue
            self._unread.remove(one)
            if rows:
                self._counts[one.key] += rows
                for other in self._unread:
                    other.before = one.changes


def writing(text: str, vendor: str = "postgresql") -> re.Match[str] | None:
    """What a statement writes to, for `table_of`; None where it only reads."""
    return _WRITES.match(_main_statement(text, vendor) if _WITH.match(text) else text)


def table_of(found: re.Match[str]) -> str:
    """The name of the table, as the database has it."""
    return found["table"].strip('"`[]')


def _main_statement(text: str, vendor: str) -> str:
    """What stands behind the queries of a WITH."""
    depth = 0
    for found in _MAIN.finditer(bare(text, vendor) or ""):
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
        elif not depth:
            return text[found.start() :]
    return ""


def _verb_of(verb: str, how: str, text: str) -> str:
    if verb in ("DELETE", "TRUNCATE"):
        return DELETED
    if verb in ("REPLACE", "MERGE") or "REPLACE" in how.upper() or _thread.upserts:
        return UPSERTED
    if verb == "INSERT" and _OVERWRITES.search(text):
        return UPSERTED
    return UPDATED if verb == "UPDATE" else CREATED


def _rows(text: str, verb: str, *, many: bool, cursor: Any) -> int:
    """How many rows: as the driver says, but MySQL's counts one that was overwritten twice: there, as the text says."""
    count: int = max(cursor.rowcount, 0)
    values = _VALUES.search(_LITERALS.sub("''", text)) if cursor.db.vendor == "mysql" and verb == UPSERTED else None
    if many or values is None:
        return count
    rows = depth = 0
    for sign in _PARENTHESES.findall(values[1]):
        rows += sign == "(" and not depth
        depth += 1 if sign == "(" else -1
    return rows
