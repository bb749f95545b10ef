"""What the figures were made with: versions, and the kind of machine by its cores."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3

_PACKAGES = ("Django", "httpx", "httpx-aiohttp", "aiohttp", "requests", "uvloop", "psycopg")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> list[str]:
    """Name and version of all that matters here, as far as it is installed."""
    packages = [f"{name} {version}" for name in _PACKAGES if (version := _version(name))]
    return [f"Python {platform.python_version()}", *packages, f"SQLite {sqlite3.sqlite_version}"]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
