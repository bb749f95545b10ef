"""Log records as handlers may have them: no secrets, no escape sequences, one line a message."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from .errors import readable
from .redactor import Redactor
from .tracebacks import MOST, TRACEBACK_CAP, chain, traceback_text
from .values import redacted_value, text_of_value

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Cleaner:
    """Takes secrets, and what could forge a line or move a terminal, out of log records, before any handler has them.

    A record without any stays as it is: template, arguments and exception. Else what an argument says is cleaned, and
    the template stays; an exception that says a secret comes as one of the same name, with the same frames.
    """

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._lines: WeakKeyDictionary[logging.LogRecord, str] = WeakKeyDictionary()

    def clean(self, record: logging.LogRecord) -> None:
        """Clean the name, the message, the traceback and what `extra` brought along."""
        record.name = self._line(record.name)
        self._clean_message(record)
        self._clean_exception(record)
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        for name, value in list(vars(record).items()):
            if name in _STANDARD:
                continue
            if isinstance(value, str):
                setattr(record, name, self._line(value))
            elif not isinstance(value, dict | list | tuple):
                setattr(record, name, self._cleaned_argument(value))
            elif self._redact.within(text := text_of_value(value)) != text:
                setattr(record, name, redacted_value(value, self._redact))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is logged in the block is this one's to clean, and that of those around it: no others' beside them."""
        token = _entered.set((*_entered.get(), self))
        try:
            yield
        finally:
            _entered.reset(token)

    @property
    def is_beside(self) -> bool:
        """Whether what is logged here is others' to clean. On a thread that knows of none it is everybody's."""
        entered = _entered.get()
        return bool(entered) and self not in entered

    def lines_of(self, record: logging.LogRecord) -> str:
        """The message with the lines that it had before it was cleaned."""
        return self._lines.get(record) or record.getMessage()

    def _clean_message(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments: each handler would complain, and show them
            record.msg, record.args = self._line(f"{record.msg} {record.args!r} (these do not fit)"), ()
            return
        line = self._line(said)
        if line == said:
            return
        self._lines[record] = self._redact(said)
        arguments: Any = record.args
        if arguments:
            if isinstance(arguments, Mapping):
                record.args = {name: self._cleaned_argument(value) for name, value in arguments.items()}
            else:
                record.args = tuple(map(self._cleaned_argument, arguments))
            said = text_of_value(record, logging.LogRecord.getMessage)  # the template may ask for more than texts
            if said == self._line(said) and not said.startswith("<LogRecord, whose"):
                return
        record.msg, record.args = line, ()

    def _cleaned_argument(self, value: Any) -> Any:
        if value is None or isinstance(value, int | float):
            return value
        text = text_of_value(value, str)
        line = self._line(text)
        return value if line == text else line

    def _clean_exception(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            record.exc_text = self._redact(record.exc_text) if record.exc_text else record.exc_text
            return
        error = readable(error)
        record.exc_info = (type(error), error, error.__traceback__)
        try:
            said = "".join(traceback.format_exception(error)).removesuffix("\n")  # as logging.Formatter has it
        except Exception:  # noqa: BLE001 - an error that cannot be shown: no handler could
            said = ""
        text = self._redact.end(traceback_text(error, said), TRACEBACK_CAP)
        hidden = (text_of_value(one.args) for one in chain(error))  # an exception may not show its arguments
        if text == said and all(self._redact.within(arguments) == arguments for arguments in hidden):
            return
        other = self._stand_in(error)
        record.exc_info, record.exc_text = (type(other), other, other.__traceback__), text

    def _stand_in(self, error: BaseException) -> BaseException:
        """An error alike, with others for what led to it. A chain may be longer than a call stack, or a circle."""
        first = last = self._alike(error)
        seen = {id(error)}
        while len(seen) < MOST:
            earlier = error.__cause__
            if earlier is None and not error.__suppress_context__:
                earlier = error.__context__
            if earlier is None or id(earlier) in seen:
                break
            other = self._alike(earlier)
            if error.__cause__ is not None:
                last.__cause__ = other
            else:
                last.__context__ = other
            error, last = earlier, other
            seen.add(id(error))
        return first

    def _alike(self, error: BaseException) -> BaseException:
        kind = type(error)
        named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        other: BaseException = type(kind.__name__, (Exception,), named)(self._line(text_of_value(error, str)))
        return other.with_traceback(error.__traceback__)

    def _line(self, text: str) -> str:
        return self._redact(text).replace("\n", "\\n")


_entered: ContextVar[tuple[Cleaner, ...]] = ContextVar("async_commander_cleaners", default=())


class CleaningFilter(logging.Filter):
    """Cleans a logger's own records; lets every one through."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__()
        self._cleaner = cleaner

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        if not self._cleaner.is_beside:
            self._cleaner.clean(record)
        return True


class CleaningHandler(logging.Handler):
    """Cleans records of child loggers, which ask no filter of their parents: on their way up it is met first.

    The loggers of these names have a filter.
    """

    def __init__(self, cleaner: Cleaner, filtered: frozenset[str]) -> None:
        super().__init__()
        self._cleaner = cleaner
        self._filtered = filtered

    def handle(self, record: logging.LogRecord) -> bool:
        """See logging.Handler; without its lock: what it asks may log itself."""
        if record.name not in self._filtered and not self._cleaner.is_beside:
            self._cleaner.clean(record)
        return True
