"""What statements have written: how many rows of which table, by verb."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from async_commander.results import CREATED, DELETED, UPDATED, UPSERTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAD = r"(?>\s+|--[^\n]*\n|/\*.*?\*/)*+"
_NAME = r'(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)'
_WRITES = re.compile(
    rf"{_LEAD}(?P<verb>INSERT|REPLACE|UPDATE|DELETE|TRUNCATE|MERGE)\b"
    r"(?P<how>(?:\s+(?:OR\s+\w+|IGNORE|LOW_PRIORITY|QUICK|INTO|FROM|TABLE|ONLY)\b)*)"
    rf"\s+(?:{_NAME}\.)?(?P<table>{_NAME})",
    re.IGNORECASE | re.DOTALL,
)
_WITH = re.compile(rf"{_LEAD}WITH\b", re.IGNORECASE | re.DOTALL)
_SAVEPOINT = re.compile(r"\s*(SAVEPOINT|ROLLBACK\s+TO(?:\s+SAVEPOINT)?)\s+(\S+)", re.IGNORECASE)
_OVERWRITES = re.compile(r"\bON\s+CONFLICT\b.*\bDO\s+UPDATE\b|\bON\s+DUPLICATE\s+KEY\b", re.IGNORECASE | re.DOTALL)
_RETURNS = re.compile(r"\bRETURNING\b", re.IGNORECASE)
_VALUES = re.compile(r"\bVALUES\b(.*?)(?:\bON\s+(?:CONFLICT|DUPLICATE)\b|\bRETURNING\b|$)", re.IGNORECASE | re.DOTALL)
_PARENTHESES = re.compile(r"[()]")
_GROUP = re.compile(r"\([^()]*\)")
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


class Written:
    """The rows that one transaction has written so far, by table and verb. What a savepoint took back is left out."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._marks: dict[str, Counter[tuple[str, str]]] = {}

    def mark(self) -> Counter[tuple[str, str]]:
        """What is to be left where all that follows is taken back."""
        return self.counts.copy()

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
        result = execute(sql, params, many, context)
        text = (
            sql if isinstance(sql, str) else sql.as_string(context["connection"].connection)
        )  # psycopg's composed ones
        if (savepoint := _SAVEPOINT.match(text)) is not None:
            if savepoint[1][0] in "sS":
                self._marks[savepoint[2]] = self.counts.copy()
            else:
                self.counts = self._marks.get(savepoint[2], self.counts).copy()
            return result
        found = writing(text)
        if found is not None:
            verb = _verb_of(found["verb"].upper(), found["how"], text)
            if rows := _rows(text, verb, many=many, cursor=context["cursor"]):
                self.counts[table_of(found), verb] += rows
        return result


def writing(text: str) -> re.Match[str] | None:
    """What a statement writes to, for `table_of`; None where it only reads."""
    return _WRITES.match(_main_statement(text) if _WITH.match(text) else text)


def table_of(found: re.Match[str]) -> str:
    """The name of the table, as the database has it."""
    return found["table"].strip('"`[]')


def _main_statement(text: str) -> str:
    """What stands behind the queries of a WITH."""
    bare = _LITERALS.sub("''", text)
    while _GROUP.search(bare):
        bare = _GROUP.sub(" ", bare)
    start = re.search(r"\b(?:INSERT|UPDATE|DELETE|MERGE|SELECT)\b", bare, re.IGNORECASE)
    return bare[start.start() :] if start else ""


def _verb_of(verb: str, how: str, text: str) -> str:
    if verb in ("DELETE", "TRUNCATE"):
        return DELETED
    if verb in ("REPLACE", "MERGE") or "REPLACE" in how.upper() or _thread.upserts:
        return UPSERTED
    if verb == "INSERT" and _OVERWRITES.search(text):
        return UPSERTED
    return CREATED if verb == "INSERT" else UPDATED


def _rows(text: str, verb: str, *, many: bool, cursor: Any) -> int:
    """How many rows: as the driver says, but where it does not know, as many as the statement names.

    SQLite's counts what RETURNING gave so far, which is nothing; MySQL's counts a row that was overwritten twice.
    """
    vendor: str = cursor.db.vendor
    count: int = max(cursor.rowcount, 0)
    doubled = vendor == "mysql" and verb == UPSERTED
    unknown = vendor == "sqlite" and _RETURNS.search(text) is not None
    if many or not (doubled or unknown):
        return count
    values = _VALUES.search(_LITERALS.sub("''", text))
    if values is None:
        return count or int(unknown)
    rows = depth = 0
    for sign in _PARENTHESES.findall(values[1]):
        rows += sign == "(" and not depth
        depth += 1 if sign == "(" else -1
    return rows
