"""A stand-in for a stream of Django's, terminal or not."""

from __future__ import annotations

import io
from typing import Any

from django.core.management.base import OutputWrapper


class FakeStream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def wrapped(*, terminal: bool) -> tuple[Any, FakeStream]:
    stream = FakeStream(terminal=terminal)
    return OutputWrapper(stream), stream
