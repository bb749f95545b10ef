"""`manage.py acache`: how much the cached methods of each command have kept, and its removal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from async_commander.cache.store import Kept, open_store
from async_commander.command.registry import find_command
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.history.moments import moment
from async_commander.history.reading import recorded_names
from async_commander.management.formatting import columns
from async_commander.management.options import seconds
from async_commander.management.summary import to_json
from async_commander.management.terminal_command import TerminalCommand, agreed
from async_commander.results import EXIT_FAILED, EXIT_USAGE
from async_commander.text.amounts import count, size
from async_commander.text.clean import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from async_commander.cache.store import Store

_HEAD = ["command", "results", "size", "oldest", "newest"]


@dataclass(frozen=True, slots=True)
class Share:
    """What one command has kept in one area."""

    command: str
    store: Store
    entries: tuple[Kept, ...]

    @property
    def label(self) -> str:
        """As the table names it."""
        return f"{plain(self.command)}{' (trial runs)' if self.is_of_tests else ''}"

    @property
    def is_of_tests(self) -> bool:
        """Whether test runs have kept it."""
        return self.store.is_of_tests

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(entry.size for entry in self.entries)

    @property
    def moments(self) -> list[datetime]:
        """When the oldest and the newest one were kept."""
        times = [entry.modified for entry in self.entries]
        return [min(times), max(times)]


class Command(TerminalCommand):
    """Lists what is kept, or removes what a command has kept."""

    help = "List what cached methods have kept, by command, or remove what one command has kept."
    requires_system_checks: Any = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.usage = "%(prog)s [list | clear NAME] [options]"
        parser.add_argument("what", nargs="?", choices=["list", "clear"], default="list", help="list is the default")
        parser.add_argument("name", nargs="?", metavar="NAME", help="of the command, as arun takes it")
        parser.add_argument(
            "--older-than", type=seconds, metavar="TIME", help="only what was kept before so long (7d, 12h or 30m)"
        )
        parser.add_argument("--yes", action="store_true", help="remove without asking")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """See BaseCommand."""
        del args
        try:
            store = open_store()
            if options["what"] == "clear":
                self._clear(store, options)
            else:
                self._list(store, options)
        except (InvalidCommand, ImproperlyConfigured) as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error
        except CommandError:
            raise
        except Exception as error:
            told = f"The cache cannot be used: {type(error).__name__}: {error}"
            raise CommandError(told, returncode=EXIT_FAILED) from error

    def _list(self, store: Store, options: dict[str, Any]) -> None:
        names = [options["name"]] if options["name"] else None
        shares = [_older(share, options["older_than"]) for share in _shares(store, names)]
        shares = [share for share in shares if share.entries]
        if options["json"]:
            self.write_lines([to_json([_as_json(share) for share in shares])])
        elif shares:
            self.write_lines(_table(shares))
        else:
            self.write_lines(["Nothing is kept."])

    def _clear(self, store: Store, options: dict[str, Any]) -> None:
        name = options["name"]
        if not name:
            raise CommandError("Name the command: acache clear NAME", returncode=EXIT_USAGE)
        shares = [_older(share, options["older_than"]) for share in _shares(store, [name])]
        entries = [entry for share in shares for entry in share.entries]
        if not entries:
            _check_name(store, name)
        results = "1 result" if len(entries) == 1 else f"{count(len(entries))} results"
        told = f"{results} of {plain(name)}, {size(sum(share.size for share in shares))}"
        removed = bool(entries) and agreed(f"Remove {told}?", self.stderr, yes=options["yes"])
        if removed:
            for share in shares:
                share.store.delete(share.entries)
        if options["json"]:
            self.write_lines([to_json({"command": name, "removed": len(entries) if removed else 0})])
        elif not entries:
            self.write_lines([f"Nothing is kept of {plain(name)}{' for so long' if options['older_than'] else ''}."])
        else:
            self.write_lines([f"Removed {told}." if removed else "Nothing was removed."])


def _shares(store: Store, names: Iterable[str] | None) -> list[Share]:
    """What is kept of these commands, of test runs behind that of others; of all commands without names."""
    wanted = None if names is None else {each for name in names for each in recorded_names(name)}
    return [
        Share(command, area, tuple(area.entries(command)))
        for area in (store.of(testing=False), store.of(testing=True))
        for command in area.commands()
        if wanted is None or command in wanted
    ]


def _older(share: Share, than: float | None) -> Share:
    if than is None:
        return share
    limit = datetime.now(UTC) - timedelta(seconds=than)
    return replace(share, entries=tuple(each for each in share.entries if _aware(each.modified) < limit))


def _aware(at: datetime) -> datetime:
    """Storages give local times where USE_TZ is off."""
    return at if timezone.is_aware(at) else timezone.make_aware(at)


def _check_name(store: Store, name: str) -> None:
    """CommandError for a command that never was; of one that is gone something may be kept."""
    if any(share.entries for share in _shares(store, [name])):
        return
    try:
        find_command(name)
    except AsyncCommanderError as error:
        raise CommandError(f"Nothing is kept of {name!r}, and {error}", returncode=EXIT_USAGE) from error


def _table(shares: list[Share]) -> list[str]:
    rows = [[share.label, count(len(share.entries)), size(share.size), *map(moment, share.moments)] for share in shares]
    total = ["", count(sum(len(share.entries) for share in shares)), size(sum(share.size for share in shares)), "", ""]
    return columns([_HEAD, *rows, *([total] if len(rows) > 1 else [])], right=frozenset({1, 2}))


def _as_json(share: Share) -> dict[str, Any]:
    oldest, newest = share.moments
    return {
        "command": share.command,
        "test": share.is_of_tests,
        "results": len(share.entries),
        "bytes": share.size,
        "oldest": oldest,
        "newest": newest,
    }
