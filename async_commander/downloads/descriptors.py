"""File descriptors: how many a client may use, and what happens where there are none left."""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import suppress
from pathlib import Path

from async_commander.text.tracebacks import causes

SPARE = 64
"""Descriptors that a process needs beside its downloads: files, lanes, name servers, pool children."""
LEFT_FREE = 32
"""So many of them are never taken for downloads."""
FEWEST = 4
"""So many downloads at once are tried in any case."""


def soft_limit() -> int | None:
    """How many descriptors this process may have (`ulimit -n`); None: no bound that is known."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def needed(threads: int) -> int:
    """Descriptors that a run of so many downloads at once should be given."""
    return threads + SPARE


def room_for(threads: int) -> int:
    """How many of so many downloads may have a connection at once, from what is free now."""
    limit = soft_limit()
    if limit is None or limit >= threads + 4 * SPARE:
        return threads
    in_use = SPARE - LEFT_FREE
    for listing in ("/dev/fd", "/proc/self/fd"):
        with suppress(OSError):
            in_use = len(list(Path(listing).iterdir()))
    return min(threads, max(FEWEST, limit - in_use - LEFT_FREE))


def ran_out(error: BaseException | None) -> bool:
    """Whether an error says that there was no descriptor left, or may say so and is right.

    The system's resolver reports its own lack of descriptors as a name that is not known.
    """
    for link in causes(error):
        if isinstance(link, OSError) and link.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if isinstance(link, socket.gaierror):
            try:
                socket.socket().close()
            except OSError as lack:
                return lack.errno in (errno.EMFILE, errno.ENFILE)
            return False
    return False
