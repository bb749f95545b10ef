"""Log records of a run, kept with it: caught on any thread, bounded, handed over in batches."""

from __future__ import annotations

import logging
import sysconfig
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import chain, count
from operator import itemgetter
from uuid import UUID

from async_commander.engine.context import RunContext, current_run
from async_commander.text.records import Cleaner, CleaningFilter, CleaningHandler
from async_commander.text.redactor import Redactor
from async_commander.text.tracebacks import traceback_text

from .recorder import LogLine

RECORDS_HELD = 10_000
MESSAGE_CAP = 4_000
LOGGER_CAP = 200
PACKAGE_LOGGER = "async_commander"
OWN_LOGGER = f"{PACKAGE_LOGGER}.run"

FAILURE = "item_failure"
"""What a record about an item that failed has as `extra`: what `LogLine.failure` keeps of it."""

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


_briefly: ContextVar[bool] = ContextVar("async_commander_briefly", default=False)


@contextmanager
def told_briefly(*, brief: bool) -> Iterator[None]:
    """What is logged in the block has its exception for handlers; the run's log keeps the message only."""
    token = _briefly.set(brief)
    try:
        yield
    finally:
        _briefly.reset(token)


@contextmanager
def about_item(key: UUID) -> Iterator[None]:
    """What is logged in the block is about this item."""
    token = item_in_hand.set(key)
    try:
        yield
    finally:
        item_in_hand.reset(token)


class LogCapture(logging.Handler):
    """Keeps the records that are logged inside one run, whichever logger they come from.

    Of what the loggers' levels let through, the project's own records are kept from INFO (DEBUG under verbosity 3),
    those of installed libraries from WARNING. At most `RECORDS_HELD` records wait to be written; beyond that the least
    important are dropped and counted.
    """

    def __init__(self, context: RunContext, redact: Redactor) -> None:
        super().__init__()
        self._context = context
        self._redact = redact
        self._cleaner = Cleaner(redact)
        self._name = f"{OWN_LOGGER}.{context.command}"
        self._lines: defaultdict[int, deque[tuple[int, LogLine]]] = defaultdict(deque)
        """By level, each with its number in the order of their coming: the least important is found at once."""
        self._numbers = count()
        self._held = 0
        self._guard = threading.Lock()
        self._dropped = 0
        self._lost = 0
        self._floor = logging.DEBUG if context.verbosity >= 3 else logging.INFO

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen to all loggers for the block. The run's own ones let records through from INFO, or DEBUG, on.

        No record of theirs, of their children or of this package's other loggers shows a secret: each passes a filter
        or a handler that cleans it first. What is said inside of another run is that one's to clean.
        """
        known = logging.getLogger().manager.loggerDict.copy()
        names = {OWN_LOGGER, self._name, *(name for name in known if is_below(name, self._name))}
        cleaning, first = CleaningFilter(self._cleaner), CleaningHandler(self._cleaner, frozenset(names))
        # The loggers that pass nothing on: each record comes to one of them at most.
        ends = [one for one in known.values() if isinstance(one, logging.Logger) and not one.propagate]
        ends, own = [logging.getLogger(), *ends], [*map(logging.getLogger, names)]
        passed = [logging.getLogger(self._name), logging.getLogger(PACKAGE_LOGGER)]
        with _own_level.lowered(self._floor), self._cleaner.entered():
            for logger in own:
                logger.addFilter(cleaning)
            for logger in passed:
                logger.handlers.insert(0, first)
            for logger in ends:
                logger.addHandler(self)
            try:
                yield
            finally:
                for logger in ends:
                    logger.removeHandler(self)
                for logger in passed:
                    logger.removeHandler(first)
                for logger in own:
                    logger.removeFilter(cleaning)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, if it is one of this run's."""
        printed = logging.lastResort
        if printed is not None and record.levelno >= printed.level and self._silences(record):
            printed.handle(record)
        run = current_run()
        if run is not self._context and (run is not None or not is_below(record.name, self._name)):
            return  # said inside of another run; or on a thread that knows of no run, and not by this one's own logger
        is_own = record.name.startswith(OWN_LOGGER) or not record.pathname.startswith(_foreign)
        if record.levelno < (self._floor if is_own else logging.WARNING):
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
                least = min(self._lines)
                self._lines[least].popleft()
                if not self._lines[least]:
                    del self._lines[least]
                self._held -= 1
                self._dropped += 1

    def _silences(self, record: logging.LogRecord) -> bool:
        """Whether the record would be printed by Python itself, were it not for this handler.

        Records of runs are not: the terminal decides which of them it shows, and when.
        """
        if record.name.startswith(OWN_LOGGER):
            return False
        handlers: list[logging.Handler] = []
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            handlers += logger.handlers
            logger = logger.parent if logger.propagate else None
        listening = [handler for handler in handlers if not isinstance(handler, CleaningHandler)]
        return listening[:1] == [self] and all(isinstance(handler, LogCapture) for handler in listening)

    def _line(self, record: logging.LogRecord) -> LogLine:
        text = self._cleaner.lines_of(record)
        if not _briefly.get():
            error = record.exc_info[1] if record.exc_info else None
            trace = record.exc_text or (traceback_text(error) if error is not None else "")
            text = f"{text}\n{trace}" if trace else text
        return LogLine(
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelno,
            logger=self._redact(record.name, LOGGER_CAP),
            message=self._redact(text, MESSAGE_CAP),
            item_key=item_in_hand.get(),
            failure=getattr(record, FAILURE, None),
        )

    def lost(self, lines: Sequence[LogLine]) -> None:
        """These were taken and could not be written: the next ones come with a note of it."""
        with self._guard:
            self._lost += len(lines)

    def take(self) -> list[LogLine]:
        """The lines since the last call, with notes of what was lost before them and of what was dropped."""
        with self._guard:
            found, self._held = [*chain.from_iterable(self._lines.values())], 0
            self._lines.clear()
            dropped, self._dropped = self._dropped, 0
            lost, self._lost = self._lost, 0
        lines = [line for _, line in sorted(found, key=itemgetter(0))]
        if lost:
            lines.insert(0, gap(f"{lost} log records are missing here: they could not be written."))
        if dropped:
            text = f"{dropped} log records were dropped here: more than {RECORDS_HELD} were waiting to be written."
            lines.append(gap(text))
        return lines


def is_below(name: str, logger: str) -> bool:
    """Whether this is the name of that logger, or of a child of it."""
    return name == logger or name.startswith(f"{logger}.")


def gap(text: str) -> LogLine:
    """A line in the place of others."""
    return LogLine(datetime.now(UTC), logging.WARNING, OWN_LOGGER, text)
