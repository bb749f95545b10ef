"""Where results are kept: one of Django's storages, in a folder for each command."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages

from async_commander.conf import NAME, get_settings
from async_commander.exceptions import InvalidCommand

from .entries import Entry, from_bytes, to_bytes

if TYPE_CHECKING:
    from django.core.files.storage import Storage

ROOT = "async_commander"
RESULTS, TESTS = "results", "test"
"""Areas: a test run finds nothing that others kept, and the other way round."""
_KEY = re.compile(r"[0-9a-f]{64}")
_AT_ONCE = 8
"""Questions to a storage about its files: one that is far away answers each after a while."""


class CannotKeep(Exception):
    """The storage took an entry, but not under the name that it would be found by."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry as the storage shows it, unread."""

    name: str
    size: int
    modified: datetime


class Store:
    """The entries of one area in a storage."""

    def __init__(self, storage: Storage, area: str = RESULTS) -> None:
        self._storage = storage
        self.area = area

    def of(self, *, testing: bool) -> Store:
        """The area of test runs, or that of all others."""
        return Store(self._storage, TESTS if testing else RESULTS)

    @property
    def is_of_tests(self) -> bool:
        """Whether test runs keep their results here."""
        return self.area == TESTS

    # -- one entry ---------------------------------------------------------------------------------------------

    def read(self, command: str, key: str) -> Entry | None:
        """An entry; None where there is none. Damaged, and whatever errors the storage has."""
        try:
            with self._storage.open(self._name(command, key), "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            return None
        return from_bytes(raw, key)

    def write(self, entry: Entry) -> None:
        """Keep an entry, whole or not at all. CannotKeep, and whatever errors the storage has.

        On a disk it is written beside its place and then renamed. Storages of objects show an object when it is whole;
        on any other one a half-written entry is found by its signature when it is read.
        """
        name, raw = self._name(entry.command, entry.key), to_bytes(entry)
        if not isinstance(self._storage, FileSystemStorage):
            self._replace(name, raw)
            return
        part = self._storage.save(f"{name}.{secrets.token_hex(8)}.part", ContentFile(raw))
        try:
            path = Path(self._storage.path(part))
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self._storage.path(name))
        except BaseException:
            self._storage.delete(part)
            raise

    def _replace(self, name: str, raw: bytes) -> None:
        """A storage that does not overwrite gives the new file another name: the old one has to go first."""
        saved = self._storage.save(name, ContentFile(raw))
        if saved != name:
            self._storage.delete(saved)
            with suppress(FileNotFoundError):  # others replace it, too
                self._storage.delete(name)
            saved = self._storage.save(name, ContentFile(raw))
        if saved != name:
            self._storage.delete(saved)
            if not self._storage.exists(name):  # else somebody else has made it just now
                raise CannotKeep(f"the storage keeps {name!r} as {saved!r}")

    def _name(self, command: str, key: str) -> str:
        return f"{self._folder(command)}/{key}"

    def _folder(self, command: str) -> str:
        return f"{ROOT}/{self.area}/{quote(command, safe='')}"

    # -- all of them -------------------------------------------------------------------------------------------

    def commands(self) -> list[str]:
        """The commands that have entries, by name."""
        return sorted(unquote(folder) for folder in self._listed(f"{ROOT}/{self.area}")[0])

    def entries(self, command: str) -> Iterator[Kept]:
        """What is kept of a command, half-written files of processes that were killed included."""
        folder = self._folder(command)
        names = [f"{folder}/{file}" for file in self._listed(folder)[1] if _KEY.match(file)]
        for kept in self._of_each(self._look_at, names):
            if kept is not None:
                yield kept

    def delete(self, entries: Iterable[Kept]) -> None:
        """Remove these entries."""
        for _ in self._of_each(self._storage.delete, [entry.name for entry in entries]):
            pass

    def _listed(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            return self._storage.listdir(folder)
        except FileNotFoundError:
            return [], []
        except NotImplementedError:
            raise InvalidCommand(
                f"{type(self._storage).__name__} cannot list its files; clear the cache by its own means, in the "
                f"folder {ROOT}"
            ) from None

    def _look_at(self, name: str) -> Kept | None:
        try:
            return Kept(name, self._storage.size(name), self._storage.get_modified_time(name))
        except FileNotFoundError:  # it was replaced or removed meanwhile
            return None

    def _of_each(self, function: Any, names: list[str]) -> Iterator[Any]:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            yield from threads.map(function, names)


def open_store() -> Store:
    """The store that the settings name. InvalidCommand where it cannot be used."""
    alias = get_settings().cache
    if not alias:
        return Store(make_default())
    try:
        storage = storages[alias]
    except (InvalidStorageError, ImportError) as error:
        known = ", ".join(settings.STORAGES)
        raise InvalidCommand(f"{NAME}['CACHE'] is {alias!r}: {error} STORAGES has {known}.") from error
    return Store(storage)


# -- where nothing is configured ---------------------------------------------------------------------------------------


def on_this_machine() -> FileSystemStorage:
    """A folder of this user and this project, which nobody else may read: never MEDIA_ROOT, which is served."""
    folder = default_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except (OSError, RuntimeError) as error:
        raise InvalidCommand(
            f"Cached results would be kept in {folder}, which cannot be made ({error}). Name a storage for them: "
            f'{NAME} = {{"CACHE": "an alias of STORAGES"}}.'
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InvalidCommand(
            f"Cached results would be kept in {folder}, which is a link, or somebody else's, or open to others for "
            "writing. Remove it, or make it yours alone (chmod 700)."
        )
    return FileSystemStorage(location=folder, file_permissions_mode=0o600, directory_permissions_mode=0o700)


make_default: Callable[[], Storage] = on_this_machine
"""Where nothing is configured; the pytest plugin gives each test a store of its own, in memory."""


def default_folder() -> Path:
    """`~/.cache/async_commander/` and a name for the project; under XDG_CACHE_HOME where that is set."""
    module = getattr(settings, "SETTINGS_MODULE", None) or "settings"
    place = getattr(settings, "BASE_DIR", None) or getattr(sys.modules.get(module), "__file__", None) or ""
    project = f"{module}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()  # noqa: PTH117 - of a text
    return base / ROOT / project
