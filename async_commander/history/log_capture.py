"""Log records of a run, kept with it: caught on any thread, bounded, handed over in batches."""

from __future__ import annotations

import logging
import sysconfig
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import chain, count
from operator import itemgetter
from uuid import UUID

from async_commander.engine.context import RunContext, current_run

from .recorder import LogLine

RECORDS_HELD = 10_000
MESSAGE_CAP = 4_000
OWN_LOGGER = "async_commander.run"

item_in_hand: ContextVar[UUID | None] = ContextVar("async_commander_item", default=None)
"""The key of the item that the current task, or the lane working for it, has in hand."""

_foreign = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class OwnLevel:
    """The level of the run's own logger: low enough for all open runs, and as it was after the last of them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._floors: list[int] = []
        self._found = logging.NOTSET

    @contextmanager
    def lowered(self, floor: int) -> Iterator[None]:
        """Let records from `floor` on through for the block; blocks may overlap in any order."""
        with self._guard:
            if not self._floors:
                self._found = logging.getLogger(OWN_LOGGER).level
            self._floors.append(floor)
            self._apply()
        try:
            yield
        finally:
            with self._guard:
                self._floors.remove(floor)
                self._apply()

    def _apply(self) -> None:
        own = logging.getLogger(OWN_LOGGER)
        own.setLevel(self._found)
        if self._floors and own.getEffectiveLevel() > min(self._floors):
            own.setLevel(min(self._floors))


_own_level = OwnLevel()


class LogCapture(logging.Handler):
    """Keeps the records that are logged inside one run, whichever logger they come from.

    The project's own loggers are kept from INFO (DEBUG under verbosity 3), those of installed libraries from WARNING.
    At most `RECORDS_HELD` records wait to be written; beyond that the least important are dropped and counted.
    """

    def __init__(self, context: RunContext, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._context = context
        self._redact = redact
        self._lines: defaultdict[int, deque[tuple[int, LogLine]]] = defaultdict(deque)
        """By level, each with its number in the order of their coming: the least important is found at once."""
        self._numbers = count()
        self._held = 0
        self._guard = threading.Lock()
        self._dropped = 0
        self._floor = logging.DEBUG if context.verbosity >= 3 else logging.INFO

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen to all loggers for the block. The run's own logger speaks from INFO, or DEBUG, on."""
        root = logging.getLogger()
        with _own_level.lowered(self._floor):
            root.addHandler(self)
            try:
                yield
            finally:
                root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, if it is one of this run's."""
        if current_run() is not self._context or record.levelno < self._least(record):
            return
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - a log call with wrong arguments must not fail its caller
            self.handleError(record)
            return
        with self._guard:
            self._lines[line.level].append((next(self._numbers), line))
            self._held += 1
            if self._held > RECORDS_HELD:
                self._drop_one()

    def _least(self, record: logging.LogRecord) -> int:
        if record.name.startswith(OWN_LOGGER) or not record.pathname.startswith(_foreign):
            return self._floor
        return logging.WARNING

    def _line(self, record: logging.LogRecord) -> LogLine:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        return LogLine(
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelno,
            logger=record.name[:200],
            message=self._redact(text)[:MESSAGE_CAP],
            item_key=item_in_hand.get(),
        )

    def _drop_one(self) -> None:
        least = min(self._lines)
        self._lines[least].popleft()
        if not self._lines[least]:
            del self._lines[least]
        self._held -= 1
        self._dropped += 1

    def take(self) -> list[LogLine]:
        """The lines since the last call, with a note of what was dropped."""
        with self._guard:
            found, self._held = [*chain.from_iterable(self._lines.values())], 0
            self._lines.clear()
            dropped, self._dropped = self._dropped, 0
        lines = [line for _, line in sorted(found, key=itemgetter(0))]
        if dropped:
            text = f"{dropped} log records were dropped here: more than {RECORDS_HELD} were waiting to be written."
            lines.append(LogLine(datetime.now(UTC), logging.WARNING, OWN_LOGGER, text))
        return lines
