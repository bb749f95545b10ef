"""The end of a run whose database was away then: kept in a file on this machine, until the database is there again.

Without it an orderly end would look like a crash, and count as one for each item in hand.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from async_commander.results import RunStatus

from .ownership import Owner
from .recorder import Ending

if TYPE_CHECKING:
    from .lease import Ownership

logger = logging.getLogger(__name__)

_NOBODY_ELSE = 0o700


def keep(ownership: Ownership, owner: Owner, ending: Ending) -> None:
    """Write down how the run of `owner` ended. Logs a failure, and raises nothing: the end looks like a crash then."""
    text = json.dumps({"at": timezone.now().isoformat(), **asdict(ending)})
    try:
        path = _path(ownership, owner, make=True)
        new = path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        logger.warning("The end of run %s could not be kept on this machine either: %s", ownership.run_id, error)


@dataclass(frozen=True, slots=True)
class UnstoredEnd:
    """How and when a run ended."""

    ending: Ending
    at: datetime
    path: Path

    def forget(self) -> None:
        """It is stored by now, or the run goes on."""
        self.path.unlink(missing_ok=True)


def find(ownership: Ownership, owner: Owner) -> UnstoredEnd | None:
    """The end of the run under this ownership, if its owner has left word of it here."""
    try:
        path = _path(ownership, owner)
        kept = json.loads(path.read_text(encoding="utf-8"))
        at = datetime.fromisoformat(kept.pop("at"))
        return UnstoredEnd(Ending(**{**kept, "status": RunStatus(kept["status"])}), at, path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remove(before: datetime, *, dry: bool = False) -> int:
    """Remove what processes of this user have left here before a moment. Returns how many files it is.

    Whose they were their names do not tell: the moment is one from before which no run is kept.
    """
    try:
        old = [path for path in _folder().iterdir() if path.lstat().st_mtime < before.timestamp()]
        for path in () if dry else old:
            path.unlink(missing_ok=True)
    except OSError:  # there is no such folder
        return 0
    return len(old)


def _folder(*, make: bool = False) -> Path:
    """Raises OSError where others might write into it."""
    folder = Path(tempfile.gettempdir()) / f"async_commander-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    if make:
        folder.mkdir(_NOBODY_ELSE, exist_ok=True)
    found = folder.lstat()
    if hasattr(os, "getuid") and (found.st_uid, stat.filemode(found.st_mode)) != (os.getuid(), "drwx------"):
        raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def _path(ownership: Ownership, owner: Owner, *, make: bool = False) -> Path:
    """Of one process, one ownership and one database. Raises OSError where others might write into its folder."""
    folder = _folder(make=make)
    database = connections[ownership.alias].settings_dict
    names = [str(database[name]) for name in ("ENGINE", "NAME", "HOST", "PORT")]
    parts = [*names, ownership.name, ownership.epoch, owner.host, owner.boot_id, owner.pid, owner.process_start]
    return folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"
