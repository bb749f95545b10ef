"""How many processors this process may really use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@cache
def available_cpus() -> int:
    """Processors by affinity and by the cgroup's quota, whichever is less; at least 1."""
    quota = cgroup_quota(_CGROUPS, _OWN_CGROUP)
    return max(1, min(_by_affinity(), int(quota))) if quota is not None else _by_affinity()


def cgroup_quota(root: Path, own: Path) -> float | None:
    """Processors' worth of time that the control groups allow (versions 1 and 2), or None where unlimited."""
    quotas = [quota for folder in _folders(root, own) if (quota := _quota_in(folder)) is not None]
    return min(quotas, default=None)


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folders(root: Path, own: Path) -> Iterator[Path]:
    """Our own group and all above it, as a limit on any of them binds us too."""
    yield root
    yield root / "cpu"
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / "cpu"
        if not controllers or "cpu" in controllers.split(","):
            group = Path(path.lstrip("/"))
            yield from (base / part for part in (group, *group.parents))


def _quota_in(folder: Path) -> float | None:
    quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return share if share > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
