"""Where commands are found: by path, in every installed app, imported when they are used and not before."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.management import get_commands as get_management_commands

from async_commander.conf import get_settings
from async_commander.exceptions import CommandNotFound, InvalidCommand

from .base import AsyncCommand

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

FOLDER = "commands"
"""The folder in an app whose modules are commands."""

SUGGESTED = 3


class AmbiguousName(InvalidCommand):
    """Several apps have a command of that name: `app_label.name` says which."""


@dataclass(frozen=True, slots=True)
class CommandFile:
    """One command, found and not imported. `module` is the dotted name that it is imported under."""

    name: str
    app_label: str
    path: Path
    module: str

    @property
    def full_name(self) -> str:
        """`app_label.name`, which always works."""
        return f"{self.app_label}.{self.name}"


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder with commands, and the package that it is."""

    app_label: str
    package: str
    folder: Path


_more_places: dict[Path, _Place] = {}


def add_folder(folder: Path, *, package: str, label: str) -> None:
    """Find commands in this folder, too, which is that package: for an app that knows of one which is no app's."""
    _more_places[folder] = _Place(label, package, folder)


def get_commands() -> dict[str, CommandFile]:
    """Every command by name, in the order of INSTALLED_APPS. Of two files with one name the first is listed."""
    return {name: files[0] for name, files in _by_name(_files()).items()}


def get_command(name: str) -> type[AsyncCommand]:
    """The command class of that name, or of `app_label.name`; its module is imported now.

    A class in no commands folder is found by module and name, as its runs are recorded: `shop.jobs.Fetch`.

    CommandNotFound, with up to three names that are near it, where there is none. InvalidCommand where two files
    share the name, or where the file is broken: the import error is its `__cause__`.
    """
    try:
        return load_command(find_command(name))
    except CommandNotFound:
        module, _, attribute = name.rpartition(".")
        outside = None
        with suppress(Exception):  # whatever it is: no command of that name can be had
            outside = getattr(importlib.import_module(module), attribute, None) if module else None
        if not (isinstance(outside, type) and issubclass(outside, AsyncCommand)):
            raise
        return outside


def find_command(name: str) -> CommandFile:
    """The file of a command, not imported. CommandNotFound and InvalidCommand as `get_command`."""
    if not isinstance(name, str):
        raise TypeError(f"a command's name is a text like 'fetch' or 'shop.fetch', found {name!r:.80}")
    found = _matching(name, _files())
    if not found:
        _scan.cache_clear()  # a file may be new
        found = _matching(name, _files())
    if not found:
        raise CommandNotFound(_not_found(name))
    if len(found) > 1:
        raise _clash(name, found)
    return found[0]


def load_command(file: CommandFile) -> type[AsyncCommand]:
    """Import a command's module and return its class. InvalidCommand names the file and what is wrong with it."""
    try:
        command = getattr(_imported(file), "Command", None)
    except (Exception, SystemExit) as error:
        raise InvalidCommand(f"{file.path} cannot be imported: {type(error).__name__}: {error}") from error
    if command is None:
        raise InvalidCommand(
            f"{file.path} has no class named Command; add one, or begin the file's name with _ if it is no command"
        )
    if not (isinstance(command, type) and issubclass(command, AsyncCommand)):
        raise InvalidCommand(
            f"{file.path}: Command is {command!r:.80}; allowed: a class that inherits from ac.AsyncCommand or a shape"
        )
    return command


def get_runnable() -> dict[str, CommandFile]:
    """Every command by the shortest name that means it alone; those that no name does are left out."""
    by_name, by_full_name = _by_name(_files()), Counter(file.full_name for file in _files())
    alone = {file.name if len(files) == 1 else file.full_name: file for files in by_name.values() for file in files}
    return {name: file for name, file in alone.items() if by_full_name[file.full_name] == 1}


def find_clashes() -> dict[str, tuple[CommandFile, ...]]:
    """Names that more than one file gives, with those files."""
    return {name: files for name, files in _by_name(_files()).items() if len(files) > 1}


def name_of(cls: type[AsyncCommand]) -> str:
    """The name that a class is run under: `app_label.name` where two apps have one of that name, so that their runs
    differ in name; module and class where it is in no commands folder.
    """
    files = _files()
    for file in files:
        if file.module == cls.__module__ and cls.__qualname__ == "Command":
            alone = all(other.name != file.name or other.app_label == file.app_label for other in files)
            return file.name if alone else file.full_name
    return f"{cls.__module__}.{cls.__qualname__}"


def _files() -> tuple[CommandFile, ...]:
    places = [_Place(app.label, f"{app.name}.{FOLDER}", Path(app.path) / FOLDER) for app in apps.get_app_configs()]
    for package in get_settings().command_packages:
        label = package.removesuffix(f".{FOLDER}").rpartition(".")[2]
        places += [_Place(label, package, Path(folder)) for folder in _folders_of(package)]
    known = {place.folder for place in places}
    places += [place for folder, place in _more_places.items() if folder not in known]
    return _scan(tuple(places))


@lru_cache(maxsize=1024)
def _folders_of(package: str) -> tuple[str, ...]:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.submodule_search_locations is None:
        raise InvalidCommand(
            f"ASYNC_COMMANDER['COMMAND_PACKAGES'] names {package!r}, which is no package; write the dotted name of one "
            f"that can be imported"
        )
    return tuple(spec.submodule_search_locations)


@lru_cache(maxsize=8)
def _scan(places: tuple[_Place, ...]) -> tuple[CommandFile, ...]:
    found: dict[CommandFile, None] = {}  # in the order of their places, each once
    for place in places:
        for path in sorted(place.folder.rglob("*.py")):
            parts = path.relative_to(place.folder).with_suffix("").parts
            if not any(part.startswith(("_", ".")) or "." in part for part in parts):
                module = ".".join((place.package, *parts))
                found[CommandFile("_".join(parts), place.app_label, path, module)] = None
    return tuple(found)


def _by_name(files: Iterable[CommandFile]) -> dict[str, tuple[CommandFile, ...]]:
    found: dict[str, tuple[CommandFile, ...]] = {}
    for file in files:
        found[file.name] = (*found.get(file.name, ()), file)
    return found


def _matching(name: str, files: Iterable[CommandFile]) -> list[CommandFile]:
    return [file for file in files if name in {file.name, file.full_name}]


def _not_found(name: str) -> str:
    if not name:
        return f"a command's name is needed, found {name!r}; `manage.py arun` lists all of them."
    found = f"there is no command {name!r}"
    if not _files():
        return f"{found}: there are none yet. They live in <app>/{FOLDER}/ of an app in INSTALLED_APPS."
    if name in get_management_commands():
        return f"there is no async command {name!r}: it is a plain management command, run by `manage.py {name}`."
    # Up to three names that resemble this one, or have it as a part of theirs, by what runs them.
    names: dict[str, list[str]] = {}
    for by, file in get_runnable().items():
        names.setdefault(file.full_name if "." in name else file.name, []).append(file.full_name if "." in name else by)
    alike = get_close_matches(name, names, n=SUGGESTED) + [each for each in names if f"_{name}_" in f"_{each}_"]
    near = [by for each in dict.fromkeys(alike) for by in names[each]][:SUGGESTED]
    return f"{found}. Did you mean {', '.join(near)}?" if near else f"{found}; `manage.py arun` lists all of them."


def _clash(name: str, files: list[CommandFile]) -> InvalidCommand:
    told = f"{len(files)} files give the name {name!r}"
    told += f": {', '.join(f'{file.full_name} ({file.path})' for file in files)}"
    if len({file.app_label for file in files}) == len(files):
        return AmbiguousName(f"{told}; say which by app_label.name")
    return InvalidCommand(f"{told}; rename all but one")


def _imported(file: CommandFile) -> ModuleType:
    """By dotted name where that leads to the file, else from the file: an app's folder may lie outside its package."""
    try:
        module = importlib.import_module(file.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{file.module}.".startswith(f"{error.name}."):
            raise
    else:
        if module.__file__ is not None and Path(module.__file__).samefile(file.path):
            return module
    spec = importlib.util.spec_from_file_location(file.module, file.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.module]
        raise
    return module
