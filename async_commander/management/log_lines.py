"""Shows at the terminal what a command logs."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from async_commander.history.log_capture import OWN_LOGGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ShownLines(logging.Handler):
    """Hands each record to `tell`, as a text with its level."""

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._tell(self.format(record), record.levelno)
        except Exception:  # noqa: BLE001 - a log call with wrong arguments must not fail its caller
            self.handleError(record)


@contextmanager
def log_shown(command: str, tell: Callable[[str, int], None]) -> Iterator[None]:
    """For the block, `tell` gets what the command of that name says to `self.log`, secrets taken out."""
    logger, handler = logging.getLogger(f"{OWN_LOGGER}.{command}"), ShownLines(tell)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
