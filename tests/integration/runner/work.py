"""Functions for the process pool: at the top of a module, as the pool wants them."""

from __future__ import annotations

import os


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> None:
    raise ValueError(text)


def count_rows() -> int:
    from tests.testapp.models import Tag

    return len(Tag._meta.fields)


def process_id() -> int:
    return os.getpid()
