"""How many processors this process may really use."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@cache
def available_cpus() -> int:
    """Processors by affinity and by the cgroup's quota, whichever is less; at least 1."""
    quota = cgroup_quota(_CGROUPS, _OWN_CGROUP)
    return max(1, min(_by_affinity(), int(quota))) if quota is not None else _by_affinity()


def cgroup_quota(root: Path, own: Path) -> float | None:
    """Processors' worth of time that the control groups allow (versions 1 and 2), or None where unlimited."""
    folders = [root, root / "cpu"]
    for line in _read(own).splitlines():  # our own group and all above it, as a limit on any of them binds us too
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            group = Path(path.lstrip("/"))
            folders += [(root / "cpu" if controllers else root) / part for part in (group, *group.parents)]
    quotas = []
    for folder in folders:
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
        with suppress(ValueError, ZeroDivisionError):  # "max", or no such file
            quotas.append(int(quota) / int(period))
    return min((quota for quota in quotas if quota > 0), default=None)


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
