"""Shows at the terminal what a command logs."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from async_commander.history.log_capture import OWN_LOGGER, is_below

from .run_page import in_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.runner.reporting import Reporter

_LEAST = {0: logging.CRITICAL + 1, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}
"""By verbosity, the level from which the command's own records are shown."""


class ShownLines(logging.Handler):
    """Shows each record of one command's logger, and of its children."""

    def __init__(self, command: str, verbosity: int, reporter: Reporter) -> None:
        super().__init__(_LEAST[verbosity])
        self._logger = f"{OWN_LOGGER}.{command}"
        self._whole = verbosity >= 3
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if not is_below(record.name, self._logger):
            return
        try:
            text = self.format(record)
            self._reporter.message(text if self._whole else in_short(text), record.levelno)
        except Exception:  # noqa: BLE001 - a log call with wrong arguments must not fail its caller
            self.handleError(record)


@contextmanager
def log_shown(command: str, verbosity: int, reporter: Reporter) -> Iterator[None]:
    """For the block, `reporter` shows what the command of that name says to `self.log`, secrets taken out.

    The handler is above the command's own logger: records are cleaned before they come by.
    """
    above = logging.getLogger(OWN_LOGGER)
    handler = ShownLines(command, verbosity, reporter)
    above.addHandler(handler)
    try:
        yield
    finally:
        above.removeHandler(handler)
