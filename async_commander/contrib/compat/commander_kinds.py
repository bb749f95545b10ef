"""The base classes of django_commander's commands: old hooks and old ways to give values, carried out by the runner."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import anyio
from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.db import connections

from async_commander.command import shapes
from async_commander.command.annotations import label_of
from async_commander.command.arguments import Option, arguments_of
from async_commander.command.base import AsyncCommand
from async_commander.command.declaration import declaration_of, filled_in
from async_commander.command.identity import host_of
from async_commander.command.options import CACHED, OF_A_CALL, REQUESTS
from async_commander.exceptions import InvalidCommand
from async_commander.results import RunResult
from async_commander.runner import doors

from .commander_hooks import Yielded, adapted, adapted_source, named_after, spread, without_arguments
from .commander_parameters import declare_parameters
from .commander_rows import Command, CommandLog

_ALWAYS_THERE = ("test", "ignore_dependencies", "refresh_cache")
"""Options that a command finds in `self.options`, whether or not they were given."""


class BasicCommand(AsyncCommand):
    """A command with `parameter_names`, a static `add_arguments(parser)` and `run()`.

    `commands["name"](value, option=…).run()` runs it and returns what `run()` returned. Each call of `run()` is a run
    of its own, which is kept, and raises what it fails with.
    """

    parameter_names: ClassVar[Sequence[str]] = ()
    """Which of the arguments say what run it is; all others are options."""
    _features = frozenset({CACHED})  # --refresh_cache is on all commands
    _given: Mapping[str, Any] = {}
    _asked: Mapping[str, Any] = {}
    _run_id: Any = None
    _log: CommandLog | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declare_parameters(cls)
        cls._adapt_hooks()

    @classmethod
    def _adapt_hooks(cls) -> None:
        if (run := vars(cls).get("run")) is not None:

            def begin(self: BasicCommand) -> Any:
                """Outside of a run it begins one, inside it is the work."""
                return run(self) if self._session is not None else run_once_more(self)

            cls.run = named_after(begin, run)  # type: ignore[method-assign]
            cls.handle = without_arguments(run)  # type: ignore[method-assign]
        if (cleanup := vars(cls).get("cleanup")) is not None:
            cls.cleanup = without_arguments(cleanup)  # type: ignore[method-assign]

    def __new__(cls, /, *positional: Any, **arguments: Any) -> Self:
        del positional
        return super().__new__(cls, **arguments)

    def __init__(self, /, *positional: Any, **arguments: Any) -> None:
        cls = type(self)
        names = [name for name, each in arguments_of(cls).items() if each.in_identity]
        if len(positional) > len(names):
            raise TypeError(
                f"{label_of(cls)}() takes {len(names)} values by position ({', '.join(names) or 'none'}), found "
                f"{len(positional)}"
            )
        given = filled_in(cls, {**dict(zip(names, positional, strict=False)), **arguments})
        own = declaration_of(cls).names
        super().__init__(**{name: value for name, value in given.items() if name in own or not _is_shared(name)})
        self._given = {**dict(zip(names, positional, strict=False)), **arguments}
        self._asked = {name: value for name, value in given.items() if name not in own and _is_shared(name)}

    @property
    def options(self) -> dict[str, Any]:
        """All that is no parameter, `test`, `refresh_cache` and `ignore_dependencies` included."""
        session: Any = self._session
        asked = {name: session is not None and getattr(session.request, name) for name in _ALWAYS_THERE}
        return type(super().options)({**super().options, **asked, **self._asked})

    def run(self) -> Any:
        """Run the command, as one run of its own."""
        return run_once_more(self)

    @property
    def log(self) -> CommandLog:  # type: ignore[override]  # the name means something else there
        """The row of the run that is open, else of the last one."""
        if self._session is not None:
            self._log = self._log or CommandLog.of(self.record)
        elif self._log is None and self._run_id is not None:
            self._log = CommandLog.objects.get(pk=self._run_id)
        return self._log or CommandLog.of(self.record)

    @property
    def log_id(self) -> Any:
        """Its number."""
        return self.log.pk if self._session is not None else self._run_id

    @property
    def command(self) -> Command:
        """What all runs with these parameters have in common."""
        return self.log.command_row


def _is_shared(name: str) -> bool:
    return name in REQUESTS or name in OF_A_CALL


def run_once_more(command: BasicCommand) -> Any:
    """Run a command, again where it was run before. Returns what its `run()` returned; raises what it failed with."""
    made = type(command)(**command._given) if command._served else command  # noqa: SLF001 - a friend of the class
    result = doors.run(made, **command._asked)  # noqa: SLF001 - likewise
    command._log, command._run_id = None, result.run_id  # noqa: SLF001 - likewise
    return result.value


class _ByItsHooks(ABCMeta):
    """An example of theirs, a download for each item, inherits from the other kind: hooks say which kind it is."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        if _takes_items(namespace.get("download")) and not _takes_items(namespace.get("iterate")):
            bases = tuple(_OTHER_KIND.get(base, base) for base in bases)
        return super().__new__(mcs, name, bases, namespace, **kwargs)


_OTHER_KIND: dict[type, type] = {}


def _takes_items(written: object) -> bool:
    """Whether a hook wants more than `self`."""
    if not inspect.isfunction(written):
        return False
    try:
        inspect.signature(written).bind(None)
    except TypeError:
        return True
    return False


class _ItemKind(BasicCommand, shapes.ItemCommand[Any], metaclass=_ByItsHooks):
    """What the kinds with items share. They keep no ledger: an item was nothing that could be known again."""

    keep_history = False

    def item_key(self, item: Yielded, /) -> str:
        """Of the values."""
        return super().item_key(item.values)

    def throttle_key(self, item: Yielded, /) -> str | None:
        """The host of the first value that is a URL, or has one."""
        return next(filter(None, map(host_of, item.values)), None)

    @classmethod
    def _adapt_hooks(cls) -> None:
        written = vars(cls)
        if "run" in written:
            raise InvalidCommand(
                f"{label_of(cls)}.run() would not be called: the runner calls download(), iterate() and "
                "parse_and_save(). Put its work into them, or inherit from BasicCommand."
            )
        for name, adapt in cls._ADAPTED.items():
            if name in written:
                setattr(cls, name, adapt(written[name]))

    _ADAPTED: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "iterate": adapted_source,
        "download": adapted,
        "parse_and_save": adapted,
        "cleanup": without_arguments,
    }


class IterateDownloadCommand(_ItemKind, shapes.IterateDownloadCommand[Any, Any]):
    """`iterate()`, `download(*yielded)`, `parse_and_save(*yielded, *downloaded)`, `cleanup()`."""


class DownloadIterateCommand(_ItemKind, shapes.DownloadIterateCommand[Any, Any]):
    """`download()`, `iterate(*downloaded)`, `parse_and_save(*yielded)`, `cleanup()`."""


def _saved_by_processes(written: Any) -> Any:
    """`parse_and_save` for `--num_cores`: returns the place of the item beside its own value."""

    async def parse_and_save(self: _Multiprocessed, *given: Any) -> Any:
        values = spread(given)
        session: Any = self._in_run("parse_and_save()")
        if self.num_cores < 2 or session.lanes.shared:  # no process sees what this transaction has not committed
            value = await sync_to_async(written)(self, *values)
        else:
            self._cores = self._cores or anyio.CapacityLimiter(self.num_cores)
            # In a test the names of the databases are not those of the settings.
            names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
            command = self.record.pk, dict(self._given), names
            async with self._cores:
                value = await self.cpu(saved_in_process, type(self), command, values)
        return given[0].place if given and isinstance(given[0], Yielded) else 0, value

    return named_after(parse_and_save, written)


def _with_values(written: Any) -> Any:
    """`cleanup(results)`: what `parse_and_save` returned, in the order of the items."""

    def values(given: Sequence[Any]) -> list[Any]:
        if not (given and isinstance(given[0], RunResult)):
            return list(given)
        return [[value for _, value in sorted(given[0].values, key=lambda one: one[0])]]

    return adapted(written, values)


class _Multiprocessed(_ItemKind):
    """`--num_cores N`: from 2 on `parse_and_save` runs in so many processes. `cleanup(results)` gets what it returned,
    in the order of the items.
    """

    keep_values = True
    num_cores: Annotated[int, Option(help="run parse_and_save in N processes", identity=False)] = 1
    _own_arguments = frozenset({"num_cores"})
    _cores: anyio.CapacityLimiter | None = None
    _ADAPTED = {**_ItemKind._ADAPTED, "parse_and_save": _saved_by_processes, "cleanup": _with_values}  # noqa: RUF012, SLF001


class MultiprocessedIterateDownloadCommand(_Multiprocessed, IterateDownloadCommand):
    """IterateDownloadCommand with `--num_cores`."""


class MultiprocessedDownloadIterateCommand(_Multiprocessed, DownloadIterateCommand):
    """DownloadIterateCommand with `--num_cores`."""


_OTHER_KIND |= {
    DownloadIterateCommand: IterateDownloadCommand,
    MultiprocessedDownloadIterateCommand: MultiprocessedIterateDownloadCommand,
}


def saved_in_process(
    cls: type[BasicCommand], command: tuple[Any, dict[str, Any], dict[str, str]], values: list[Any]
) -> Any:
    """In a process of the pool: `parse_and_save` of a command that is made there once for each run."""
    run_id, given, databases = command
    if (cls, run_id) not in _made:
        for alias, name in databases.items():
            if str(connections[alias].settings_dict["NAME"]) != name:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = name
        ContentType.objects.clear_cache()  # a test may have emptied the tables meanwhile
        _made.clear()
        _made[cls, run_id] = cls(**given)
        _made[cls, run_id]._run_id = run_id  # noqa: SLF001 - a friend of the class
    return cls.parse_and_save.__written__(_made[cls, run_id], *values)  # type: ignore[attr-defined]


_made: dict[tuple[type[BasicCommand], Any], BasicCommand] = {}
"""The command of the run that this process of the pool works for."""
