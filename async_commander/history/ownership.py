"""Who a process is, and whether a process that owned something is still there."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from async_commander.models import Lease

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_NUMBERS = Path("/proc/self/ns/pid")
_OF_THE_MACHINE = "pid:[4026531836]"
"""The kernel gives this number to the first namespace, which is the machine's own (PROC_PID_INIT_INO)."""
_STAT_FIELDS_AFTER_NAME = 19
"""Field 22 of /proc/PID/stat is the start time; the name, field 2, may hold blanks, so counting begins behind it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One process, distinguished from any later one with the same number."""

    host: str
    """Where its number means this process: see `this_host`."""
    boot_id: str
    pid: int | None
    process_start: int | None

    @classmethod
    def of(cls, lease: Lease) -> Self:
        """Whose a lease is."""
        return cls(lease.host, lease.boot_id, lease.pid, lease.process_start)

    @property
    def columns(self) -> dict[str, object]:
        """What a lease of its says in its row."""
        return {
            "host": self.host,
            "boot_id": self.boot_id,
            "pid": self.pid,
            "process_start": self.process_start,
        }

    @property
    def nobody(self) -> bool:
        """True for the mark that a released lease bears."""
        return self.pid is None

    def is_gone(self) -> bool:
        """Whether this process has surely ended. Of another host's process nothing is sure."""
        if self.nobody:
            return True
        if self.host != this_host() or self.pid is None:
            return False
        if self.boot_id != this_boot() or not _is_alive(self.pid):
            return True
        start = process_start(self.pid)  # another one, where the number was given again
        return start is not None and self.process_start is not None and start != self.process_start

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


NOBODY = Owner(host="", boot_id="", pid=None, process_start=None)


def this_process() -> Owner:
    """The process that asks. Not cached: a forked child is somebody else."""
    return Owner(this_host(), this_boot(), os.getpid(), process_start(os.getpid()))


@lru_cache(maxsize=1)
def host_name() -> str:
    """This machine's name, for people."""
    return socket.gethostname()


def this_host() -> str:
    """Where process numbers mean the processes that we see: this machine or, by its name, a container on it.

    Of one container's processes another one knows nothing, and neither does the machine, even if they share its name.
    Not cached: a child may be in another one than its parent.
    """
    namespace = _namespace()
    return host_name() if namespace in ("", _OF_THE_MACHINE) else f"{host_name()} ({namespace})"


def _namespace() -> str:
    """The namespace of process numbers that we are in; empty where the system has none, or does not say."""
    try:
        return str(_PROCESS_NUMBERS.readlink())
    except OSError:
        return ""


@lru_cache(maxsize=1)
def this_boot() -> str:
    """The id of this boot of the machine; empty where the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """When a process of this machine began, in the kernel's ticks since boot; None where that is not to be had."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return int(fields[_STAT_FIELDS_AFTER_NAME])


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a killed process whose parent has not asked for it yet (Z) writes nothing any more
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
