"""Writes to a reader who may stop reading: `manage.py aruns | head`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import OutputWrapper


def write_lines(stream: OutputWrapper, lines: Iterable[str]) -> None:
    """Write `lines`; where the reader has gone, the rest is dropped without an error."""
    try:
        for line in lines:
            stream.write(line)
        stream.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
