"""Functions for the process pool: at the top of a module, as the pool wants them."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> None:
    raise ValueError(text)


def count_rows() -> int:
    from tests.testapp.models import Tag

    return len(Tag._meta.fields)


def process_id() -> int:
    return os.getpid()


def begun_and_ended(seconds: float) -> tuple[float, float]:
    """By the clock that all processes of a machine share."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def search_for_ever(text: str) -> bool:
    """A regular expression that never comes back, holding on to the interpreter."""
    return re.match(r"(a+)+$", "a" * 64 + "!") is not None and bool(text)


def length(text: str) -> int:
    return len(text)


def die(text: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crowd(folder: str) -> int:
    """How many of these run now."""
    mine = Path(folder) / str(os.getpid())
    mine.touch()
    time.sleep(0.02)
    found = len(list(Path(folder).iterdir()))
    mine.unlink()
    return found


def save_tag(name: str, database: str) -> int:
    """Write a row into the database of the test, which this process is told of; how many there are then."""
    from django.db import connections, transaction

    from tests.testapp.models import Tag

    connections.settings["default"]["NAME"] = database
    if connections["default"].settings_dict["NAME"] != database:
        connections["default"].close()
        del connections["default"]
    with transaction.atomic():
        Tag.objects.create(name=name)
    return Tag.objects.count()
