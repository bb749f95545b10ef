"""`manage.py acreate`: begins a command, with a test of it that passes."""

from __future__ import annotations

import keyword
import os
import re
import sys
import sysconfig
import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.management import get_commands as get_management_commands
from django.core.management.base import CommandError, CommandParser

from async_commander.command.registry import get_commands
from async_commander.management.parsers import did_you_mean
from async_commander.management.scaffold import SCAFFOLDS, Scaffold
from async_commander.management.terminal_command import TerminalCommand, program
from async_commander.models import Run
from async_commander.results import EXIT_FAILED, EXIT_USAGE

if TYPE_CHECKING:
    from django.apps import AppConfig

_LONGEST_FILE = 200
"""Characters of a file's name: file systems take 255 bytes, and a test's name is longer than its command's."""


class Command(TerminalCommand):
    """Writes a command and its test into an app of the project."""

    help = "Begin an async command: writes the command, and a test of it that passes."
    requires_system_checks: Any = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        shapes = "; ".join(f"{name}: {scaffold.about}" for name, scaffold in SCAFFOLDS.items())
        parser.add_argument("app", metavar="APP", help="label of the app, one of the project's own")
        parser.add_argument("name", metavar="NAME", help="fetch; in folders scrapers/fetch or scrapers.fetch")
        parser.add_argument(
            "--shape", choices=SCAFFOLDS, default=next(iter(SCAFFOLDS)), help=f"{shapes} (default: first)"
        )
        parser.add_argument("--run-once", action="store_true", help="once it has succeeded, it is skipped")
        parser.add_argument(
            "--force", action="store_true", help="write over files that exist; the old ones are kept beside them"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        app, parts = _app(options["app"]), _parts(options["name"])
        scaffold, once = SCAFFOLDS[options["shape"]], options["run_once"]
        place = Place.of(app, parts, scaffold)
        if scaffold.needs and find_spec(scaffold.needs) is None:
            raise _refusal(
                f"The shape {options['shape']!r} needs {scaffold.needs}: "
                f"pip install 'async-commander[{scaffold.needs}]'"
            )
        if once and not scaffold.ends:
            raise _refusal(f"The shape {options['shape']!r} is always on: it has no end that --run-once could count.")
        place.check(force=options["force"])
        try:
            self.write_lines(
                place.write(
                    scaffold.command_text(place.name, once=once),
                    scaffold.test_text(place.name, place.module, once=once),
                )
            )
        except OSError as error:
            raise CommandError(f"The files could not be written: {error}", returncode=EXIT_FAILED) from error
        manage = program(sys.argv[0]) if sys.argv[0].endswith(".py") else "manage.py"
        self.write_lines(
            [
                "",
                "Next:",
                f"  {manage} {scaffold.line(place.name)} --help",
                f"  {manage} test {place.test_module}",
            ]
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command and its test go."""

    app: AppConfig
    parts: tuple[str, ...]
    scaffold: Scaffold
    test: Path

    @classmethod
    def of(cls, app: AppConfig, parts: tuple[str, ...], scaffold: Scaffold) -> Place:
        """In the app's package `tests`, also where that is to be made; beside a `tests.py`, which it would hide."""
        folder, file = Path(app.path), f"test_{'_'.join(parts)}.py"
        has_package = (folder / "tests" / "__init__.py").is_file() or not (folder / "tests").exists()
        in_package = has_package and not (folder / "tests.py").exists()
        return cls(app, parts, scaffold, folder / "tests" / file if in_package else folder / file)

    @property
    def command(self) -> Path:
        """The command's file."""
        return Path(self.app.path, *self.scaffold.folder, *self.parts).with_suffix(".py")

    @property
    def name(self) -> str:
        """The command's name."""
        return "_".join(self.parts)

    @property
    def module(self) -> str:
        """The command's module."""
        return ".".join((self.app.name, *self.scaffold.folder, *self.parts))

    @property
    def test_module(self) -> str:
        """The test's module."""
        return ".".join((self.app.name, *self.test.relative_to(self.app.path).with_suffix("").parts))

    def check(self, *, force: bool) -> None:
        """CommandError for whatever stands in the way, before anything is written."""
        root = Path(self.app.path).resolve()
        for path in (self.command, self.test):
            if not path.parent.resolve().is_relative_to(root) or path.is_symlink():
                raise _refusal(f"{_shown(path)} leads out of the app, by a link.")
            if path.exists() and not path.is_file():
                raise _refusal(f"{_shown(path)} exists and is no file.")
        for folder in (parent for path in (self.command, self.test) for parent in _below(path, Path(self.app.path))):
            if folder.exists() and not folder.is_dir():
                raise _refusal(f"{_shown(folder)} is a file where a folder is needed.")
            if folder.with_suffix(".py").exists():
                raise _refusal(
                    f"{_shown(folder.with_suffix('.py'))} is a module: a folder beside it hides one of the two."
                )
        if self.command.with_suffix("").is_dir():
            raise _refusal(f"{_shown(self.command.with_suffix(''))} is a folder: a module beside it would be hidden.")
        self._check_names()
        there = [_shown(path) for path in (self.command, self.test) if path.exists()]
        if there and not force:
            raise _refusal(f"{' and '.join(there)}: exists already. --force writes over it, and keeps the old one.")

    def _check_names(self) -> None:
        """Two files of one name, in one app or two, are an error of the project's check: no test would run any more.

        Of two commands of Django's the one hides the other.
        """
        if self.scaffold.is_plain:
            if len(self.parts) > 1:
                raise _refusal("Commands of Django's are in no folders: write fetch.")
            owner = get_management_commands().get(self.name, self.app.name)
            if owner != self.app.name:
                name = owner if isinstance(owner, str) else type(owner).__module__
                raise _refusal(f"{name} has a command {self.name!r} already, which this one would hide.")
            return
        known = get_commands().get(self.name)
        if known is not None and known.path != self.command:
            raise _refusal(
                f"There is a command {self.name!r} already, of the app {known.app_label!r}: {_shown(known.path)}."
            )

    def write(self, command: str, test: str) -> list[str]:
        """Write both files, with the packages that they need; what was done, in words."""
        told = []
        for path, text in ((self.command, command), (self.test, test)):
            for folder in _below(path, Path(self.app.path)):
                if not folder.exists():
                    folder.mkdir()
                    (folder / "__init__.py").touch()
            if path.exists():
                names = (f"{path.name}.bak{number if number > 1 else ''}" for number in range(1, 10_000))
                backup = next(free for free in map(path.with_name, names) if not os.path.lexists(free))
                path.rename(backup)
                told.append(f"Kept the old {_shown(path)} as {backup.name}")
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            told.append(f"Created {_shown(path)}")
        return told


def _below(path: Path, root: Path) -> list[Path]:
    """The folders between the app's and the file, from the outermost to the innermost."""
    return [folder for folder in reversed(path.parents) if folder != root and folder.is_relative_to(root)]


def _shown(path: Path) -> str:
    """As a person in the current folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


# -- what was asked for ------------------------------------------------------------------------------------------------


def _app(label: str) -> AppConfig:
    """An installed app that belongs to the project."""
    if label not in apps.app_configs:
        by_name = [config.label for config in apps.get_app_configs() if config.name == label]
        meant = f" Did you mean {by_name[0]}?" if by_name else did_you_mean(label, apps.app_configs)
        raise _refusal(f"There is no app {label!r} in INSTALLED_APPS.{meant}")
    app = apps.get_app_config(label)
    path = Path(app.path).resolve()
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    packages = {"site-packages", "dist-packages"} & {*path.parts}
    if packages or any(path.is_relative_to(folder) for folder in installed) or not _is_in_project(path):
        raise _refusal(
            f"The app {label!r} is not of this project: it is in {path}. What is written there is lost at its next "
            "installation; write the command into an app of your own."
        )
    if not path.is_dir():
        raise _refusal(f"The app {label!r} has no folder to write to: {path}.")
    return app


def _is_in_project(path: Path) -> bool:
    """Below BASE_DIR, or the folder of manage.py; where neither is known, beside the settings."""
    known = [getattr(settings, "BASE_DIR", None)]
    if Path(sys.argv[0]).name == "manage.py":
        known.append(Path(sys.argv[0]).parent)
    roots = [Path(each).resolve() for each in known if each]
    module = sys.modules.get(str(getattr(settings, "SETTINGS_MODULE", "")).partition(".")[0])
    if not roots and module is not None and module.__file__:
        package = Path(module.__file__).resolve().parent
        roots.append(package.parent if Path(module.__file__).name == "__init__.py" else package)
    return any(path.is_relative_to(root) for root in roots)


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the module of a name that Python takes."""
    if name.endswith(".py"):
        raise _refusal(f"{name!r} is a file's name; write {name.removesuffix('.py')!r}.")
    parts = tuple(re.split(r"[/.]", name))
    for part in parts:
        if problem := _problem(part):
            raise _refusal(f"{name!r} cannot be a command's name: {problem}. Write fetch, or scrapers/fetch.")
    longest = Run._meta.get_field("command").max_length or _LONGEST_FILE
    if len("_".join(parts).encode()) > min(longest, _LONGEST_FILE) - len("test_.py"):
        raise _refusal(f"{name[:40]!r}… is too long for a command's name.")
    return parts


def _problem(part: str) -> str:
    if not part:
        return "a part of it is empty"
    if not part.isidentifier():
        return f"{part!r} is no name in Python"
    if keyword.iskeyword(part):
        return f"{part!r} is a keyword of Python"
    if part.startswith("_"):
        return f"{part!r} begins with _, which marks files that are no commands"
    if unicodedata.normalize("NFKC", part) != part:
        return f"Python reads {part!r} as {unicodedata.normalize('NFKC', part)!r}"
    return ""


def _refusal(text: str) -> CommandError:
    return CommandError(text, returncode=EXIT_USAGE)
