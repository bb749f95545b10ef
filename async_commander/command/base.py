"""What every command is: its arguments, its bounds, and what hangs on `self` while its run is open."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from inspect import currentframe
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, TypeVarTuple, dataclass_transform, overload

from async_commander.engine.limits import BOUNDS, Batches, Limits, Retry
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN, Redactor

from .annotations import label_of, remember_locals
from .arguments import arguments_of, by_keyword, complete
from .declaration import declaration_of
from .hooks import A_CONTEXT, PLAIN_ONLY, Stages, hook
from .parser import complete_extra

if TYPE_CHECKING:
    import logging
    from argparse import ArgumentParser
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import httpx
    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style
    from django.db.backends.base.base import BaseDatabaseWrapper

    from async_commander.database.unit import Unit
    from async_commander.downloads.fetching import Fetched
    from async_commander.models import Run

    from .session import Session

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OF_THE_CLASS = frozenset({
    "limits", "retry", "option_defaults", "keep_values", "requires_system_checks", "requires_migrations_checks",
    "dependencies", "test_parameters", "test_options", "run_once", "single_instance", "provenance",
    "always_on", "keep_history", "deletes", "mail_admins", "batches",
})  # fmt: skip
"""Attributes of the class that a run goes by, and that no instance has."""


class Given(dict[str, Any]):
    """What a command was given, by name. A change would be lost without a word: it is made anew for who asks."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "self.options and self.parameters are what the command was given, and cannot be changed: keep what a hook "
            "finds out in an attribute of your own, set in lifespan()"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # whoever makes a copy may change it


@dataclass_transform(kw_only_default=True, frozen_default=False, field_specifiers=())
class AsyncCommand:
    """A command: annotated attributes are its arguments, hooks are its verbs.

        class Command(ac.AsyncCommand):
            '''Count the words of a file.'''

            file: Path                      # no default: positional, `arun count_words notes.txt`
            minimum: int = 3                # a default makes an option, `--minimum 5`

            async def handle(self) -> int:
                words = self.file.read_text().split()
                return sum(len(word) >= self.minimum for word in words)

    `Command(file=…, minimum=5)` converts and checks its values: TypeError for a missing or unknown name, as a function
    raises it, InvalidCommand for a value of a wrong type and for a class that cannot be used as it is written.
    Arguments cannot be set afterwards; any other attribute may be, `lifespan()` being the place for it. One instance
    serves one run and is shared by all of its workers.

    To share arguments between commands derive a base from `AsyncCommand`, or from a shape, and inherit from it.
    `ClassVar`s and `_names` are never arguments.
    """

    limits: ClassVar[Limits] = Limits()
    """Bounds of a run; the command line, the call and the settings may give others."""
    retry: ClassVar[Retry] = Retry()
    """How often and when an item is tried again."""
    batches: ClassVar[Batches] = Batches()
    """How many items one call of `parse_and_save_many()` gets, and how long the first of them waits for the others."""
    help: ClassVar[str] = ""
    """What `--help` says; else the class's docstring."""
    option_defaults: ClassVar[Mapping[str, Any]] = {}
    """Other defaults for shared options: `{"threads": 50, "yes": True}`. `progress` acts in the terminal only."""
    dependencies: ClassVar[Sequence[Any]] = ()
    """Runs that must have succeeded before one of this command: `[ac.DependsOn("rosters_load", region="eu")]`."""
    run_once: ClassVar[bool] = False
    """A run that succeeded is not run again with the same arguments: a second start is *skipped*. `--force` runs it."""
    always_on: ClassVar[bool] = False
    """Made to run for ever: what `iterate`, or `handle`, fails with or comes to an end with, it is called again."""
    keep_history: ClassVar[bool | None] = None
    """Whether each item has a row in the ledger. Without, nothing of what is done is kept: there is no resume, and an
    item is handled at least once. None: yes, but for a command that is always on."""
    single_instance: ClassVar[bool] = False
    """One run of this command at a time, whatever its arguments. A second start is refused; `--wait` waits."""
    deletes: ClassVar[bool] = False
    """It deletes rows where `--delete` says so. Without, `self.db.delete()` deletes nothing, and is counted."""
    mail_admins: ClassVar[bool | None] = None
    """Whether ADMINS get a mail for each run that fails or crashes. None: as the settings say."""
    test_parameters: ClassVar[Mapping[str, Any]] = {}
    """What `--test` runs the command with where its arguments are not given: `{"domain": "example.org"}`."""
    test_options: ClassVar[Mapping[str, Any]] = {}
    """The same for options, shared ones among them: `{"quick": True, "max_items": 5}`."""
    keep_values: ClassVar[bool] = False
    """Collect what `parse_and_save` returns in the result's `values`, in memory, for this process's items."""
    provenance: ClassVar[bool] = False
    """Record which objects a run writes, of all models. Those of a `LoggedModel` are recorded in any case."""
    requires_system_checks: ClassVar[str | Sequence[str]] = "__all__"
    """As on Django's commands."""
    requires_migrations_checks: ClassVar[bool] = False
    """As on Django's commands."""

    _stages: ClassVar[Stages | None] = None
    _features: ClassVar[frozenset[str]] = frozenset()
    """What shared options need, and each command of this kind takes, whether or not it has it."""
    _session: Session | None = None
    _reserved: bool
    _served: bool
    _extra_options: Mapping[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        remember_locals(cls, currentframe())

    def __new__(cls, /, *positional: Any, **__: Any) -> Self:
        declaration_of(cls)
        if positional:
            raise TypeError(by_keyword(cls, len(positional)))
        return super().__new__(cls)

    def __init__(self, /, **arguments: Any) -> None:
        spelt = declaration_of(type(self)).spelt
        extra = complete_extra(type(self), spelt, arguments)
        values = complete(type(self), arguments, also=spelt)
        vars(self).update(values, _session=None, _reserved=False, _served=False, _extra_options=extra)

    @classmethod
    def has_permission(cls, user: Any, action: str) -> bool:
        """Whether a user may do this with the command in the admin: "run", "cancel", "pause", "continue", "limit",
        "answer", "requeue" or "export". Asked where the user has the permission for it; by default there is nothing
        more to it.
        """
        del user, action
        return True

    # -- hooks that any command may define ----------------------------------------------------------------------------

    @hook(required=True, by_name=True)
    def handle(self, *args: Any, **options: Any) -> Any:
        """Do the whole job of a plain command. `async def`, or a plain `def` that runs on a database thread.

        Written `handle(self)`, or as on Django's commands: `handle(self, *args, **options)` gets all values by their
        names, Django's own options among them; `handle(self, domain, **options)` some of them as parameters.
        What it returns is the run's `value`. ORM calls autocommit; `self.db` commits at the end or at `flush()`.
        """
        raise NotImplementedError

    @hook(kinds=PLAIN_ONLY, returned=A_CONTEXT)
    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """Open what the run needs and close it afterwards: an async context manager around all other hooks.

            @asynccontextmanager
            async def lifespan(self):
                async with open_broker() as self.broker:
                    yield

        Its end runs after `cleanup()`, whatever happened.
        """
        return nullcontext()

    @hook(may_take=("result",))
    def cleanup(self, *args: Any, **kwargs: Any) -> Any:
        """Tidy up after success and after failure.

        Written `async def cleanup(self)` or `async def cleanup(self, result)`; `result` is the `RunResult` so far. An
        error in here makes a run that succeeded a failed one.
        """

    @hook(kinds=PLAIN_ONLY)
    def prepare_connection(self, connection: BaseDatabaseWrapper, /) -> None:
        """Prepare each connection that this run opens, to any database: a schema, a role, a tenant.

            def prepare_connection(self, connection):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('search_path', %s, false)", [self.schema])

        Called on the connection's own thread, right after it was opened, also again after it was lost, and before
        `lifespan()`: it has the arguments, and not yet what a run brings. The run's own rows are written as before it.
        """

    @hook
    def on_timeout(self) -> Any:
        """Called once where the run passes `Limits(timeout=…)`, before it is stopped in order."""

    @hook(kinds=PLAIN_ONLY, returned=A_CONTEXT)
    def http_client(self) -> AbstractAsyncContextManager[Any]:
        """The client behind `self.http`, unopened; the one place to change it, or to bring another.

            def http_client(self):
                client = super().http_client()
                client.headers["User-Agent"] = "example.org crawler"
                return client

        A client of your own has no pacing, no guard against private addresses and no bound on bodies.
        """
        return self._in_run("http_client()").http_client()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add to `parser` whatever annotations cannot say; the values are in `self.options`, outside the identity."""

    # -- what is given -------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that make this run what it is, by name: its identity."""
        return Given((name, getattr(self, name)) for name, each in arguments_of(type(self)).items() if each.in_identity)

    @property
    def options(self) -> dict[str, Any]:
        """All other values by name: options outside the identity, those of `add_arguments()`, and while a run is open
        those of its shared options that are kept with it (`max_items`, `force`) where they were given, and `test`.
        """
        own = {name: getattr(self, name) for name, each in arguments_of(type(self)).items() if not each.in_identity}
        shared = self._session.context.options if self._session else {}
        return Given({**shared, **self._extra_options, **own})

    # -- what a run brings ---------------------------------------------------------------------------------------------

    @property
    def http(self) -> httpx.AsyncClient:
        """An `httpx.AsyncClient`: bounded, paced per host, public addresses only. See `http_client()`.

        Redirects are followed; a status is an error only through `raise_for_status()`.
        """
        return self._in_run("http").http

    async def fetch(
        self,
        url: httpx.URL | str,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> Fetched:
        """GET one small answer, at about two thirds of the price of `self.http.get()`, within the same bounds.

            page = (await self.fetch(url)).raise_for_status().text

        Turns, cookies, redirects and the guard are those of `self.http`. The result is a frozen value with `status`,
        `headers`, `content`, `text` and `url`.
        """
        return await self._in_run("fetch()").fetch(url, headers=headers, extensions=extensions)

    @property
    def db(self) -> Unit:
        """The unit of work: rows queued here commit together with the item's outcome, or not at all.

        `.add(*objs)`, `.upsert(*objs, unique=…, update=…)`, `.update(*objs, fields=…)`, `.delete(*objs)` queue rows,
        written in bulk without `save()` and signals. `await self.db(function, *args)` runs a synchronous ORM function.
        """
        return self._in_run("db").db

    async def cpu(self, function: Callable[[*Ts], T], /, *args: *Ts) -> T:
        """Run a module-level function on plain data in the process pool and return its result.

        Its exceptions are raised here. A child that dies costs this call only, which is tried again. TypeError where
        the function, an argument or the result cannot be pickled.
        """
        return await self._in_run("cpu()").cpu(function, *args)

    @overload
    async def step(self, name: str, function: Callable[[*Ts], Awaitable[T]], /, *args: *Ts) -> T: ...
    @overload
    async def step(self, name: str, function: Callable[[*Ts], T], /, *args: *Ts) -> T: ...
    async def step(self, name: str, function: Callable[[*Ts], Any], /, *args: *Ts) -> Any:
        """A part of `handle()` that is done once: its result and the rows that it writes are kept, or none of them.

            for month in months:
                total = await self.step("load", self.load, month)

        A step is known by its name and its arguments, which need a stable text as items do. The function is `async def`
        or plain; its ORM calls and what it queues with `self.db` are one transaction on a lane of its own. A resume
        (`--resume`) returns what it returned, and does not call it again, also where its code has changed since.

        The result is data: plain values, dates, dataclasses; up to 1 MiB of JSON. What it raises is raised here, and
        rolls it back: nothing is kept. InvalidCommand outside of `handle()`, and for what cannot be kept.
        """
        return await self._in_run("step()").step(name, function, *args)

    @property
    def log(self) -> logging.Logger:
        """A standard logger whose records are also kept in the run."""
        return self._in_run("log").log

    @property
    def stdout(self) -> OutputWrapper:
        """The command's output, as on Django's commands: `self.stdout.write("…")`. Captured into the run."""
        return self._in_run("stdout").stdout

    @property
    def stderr(self) -> OutputWrapper:
        """The command's error output, as on Django's commands. Captured into the run."""
        return self._in_run("stderr").stderr

    @property
    def style(self) -> Style:
        """Terminal colours, as on Django's commands: `self.style.SUCCESS("…")`."""
        return self._in_run("style").style

    @property
    def dry_run(self) -> bool:
        """Whether this run keeps nothing: every transaction is rolled back."""
        return self._in_run("dry_run").context.dry_run

    @property
    def testing(self) -> bool:
        """Whether this is a trial run, started with `--test`; `self.options["test"]` says the same."""
        return self._in_run("testing").context.testing

    @property
    def force(self) -> bool:
        """Whether this run was started with `--force`, which also passes `run_once`."""
        return self._in_run("force").force

    @property
    def delete(self) -> bool:
        """Whether this run was started with `--delete`, which a class with `deletes = True` has."""
        return self._in_run("delete").delete

    @property
    def verbosity(self) -> int:
        """0 silent, 1 summary, 2 item errors as they come, 3 debug."""
        return self._in_run("verbosity").context.verbosity

    @property
    def stopping(self) -> bool:
        """True from the moment the run was asked to stop; a long `handle()` looks at it now and then, and returns."""
        return self._in_run("stopping").context.stopping

    @property
    def idempotency_key(self) -> str:
        """A text for other systems that is the same in every attempt at the item in hand."""
        return self._in_run("idempotency_key").idempotency_key

    @property
    def previous(self) -> Run | None:
        """The last succeeded run of this identity, for an incremental `since`."""
        return self._in_run("previous").previous

    @property
    def record(self) -> Run:
        """The row of this run."""
        return self._in_run("record").record

    async def confirm(self, text: str) -> bool:
        """Ask the person at the terminal. `--yes` answers True; without a terminal it is an error.

        A request to stop the run, such as Ctrl-C, answers False.
        """
        return await self._in_run("confirm()").confirm(text)

    def progress(self, done: int, total: int | None = None) -> None:
        """Show how far `handle()` is: `done` of `total`, in units of its own."""
        self._in_run("progress()").progress(done, total)

    def _in_run(self, name: str) -> Session:
        if self._session is None:
            raise AsyncCommanderError(
                f"self.{name} exists only while a run is open: use it in a hook, and start the run by "
                f"`await ac.arun(command)` or `manage.py arun`"
            )
        return self._session

    def __setattr__(self, name: str, value: Any) -> None:
        if name in arguments_of(type(self)):
            raise AttributeError(
                f"{name!r} is an argument of {type(self).__qualname__} and frozen, for all workers share it; "
                f"set another name, in lifespan()"
            )
        if name in OF_THE_CLASS:
            raise AttributeError(
                f"{name!r} is read from the class before there is a run, and cannot be set on an instance: write it in "
                f"the body of {type(self).__qualname__}"
            )
        if name in BOUNDS and isinstance(value, int | float | str):
            raise AttributeError(
                f"{name!r} is a bound of the run, which is fixed when the run begins: write `limits = "
                f"ac.Limits({name}={value!r})` in the body of {type(self).__qualname__}, or give it to the call: "
                f"`ac.arun(command, {name}={value!r})`. An attribute of your own needs another name"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in arguments_of(type(self)):
            raise AttributeError(
                f"{name!r} is an argument of {type(self).__qualname__} and frozen: it cannot be deleted"
            )
        super().__delattr__(name)

    def __repr__(self) -> str:
        given = arguments_of(type(self)).items()
        redact = redactor_of(self)
        shown = (f"{name}={HIDDEN if each.secret else redact(repr(getattr(self, name)))}" for name, each in given)
        return f"{type(self).__qualname__}({', '.join(shown)})"


def redactor_of(command: AsyncCommand) -> Redactor:
    """What keeps the values of the command's secret options, none of which is in the identity, out of every text."""
    known = arguments_of(type(command))
    return Redactor(
        value
        for name, value in command.options.items()
        if (known[name].secret if name in known else is_secret_name(name))
    )


def check_made(command: AsyncCommand) -> None:
    """Raise InvalidCommand where an `__init__()` of the author's kept the arguments from the command."""
    try:
        vars(command)["_served"]
    except KeyError as error:
        raise InvalidCommand(
            f"{label_of(type(command))}.__init__() does not call super().__init__(**arguments): "
            f"call it, or set attributes in lifespan() instead"
        ) from error


def reserve(command: AsyncCommand) -> None:
    """Before there is a run: nobody else may use the command. InvalidCommand at a second use."""
    if command._reserved or command._served:  # noqa: SLF001  this module's own
        raise _used(command)
    command._reserved = True  # noqa: SLF001  this module's own


def let_go(command: AsyncCommand) -> None:
    """There was no run after all: the command is as new."""
    command._reserved = False  # noqa: SLF001  this module's own


def bind(command: AsyncCommand, session: Session) -> None:
    """Open the command's one run: from here on its resources are there. InvalidCommand at a second use."""
    if command._served:  # noqa: SLF001  this module's own
        raise _used(command)
    command._served, command._session = True, session  # noqa: SLF001  this module's own


def _used(command: AsyncCommand) -> InvalidCommand:
    return InvalidCommand(f"{command!r} was used already: a command serves one run; make a new one")


def restore_options(command: AsyncCommand, stored: Mapping[str, Any]) -> list[str]:
    """Put the options of an earlier time, as JSON kept them, in the place of the command's own; not those hidden.

    Returns the names of those that were others.
    """
    declared, before = declaration_of(type(command)), command.options
    stored = {name: value for name, value in stored.items() if HIDDEN not in str(value)}
    extra = {name: each.restored(stored[name]) for name, each in declared.extra.items() if name in stored}
    own = {
        name: each.accept(stored[name])
        for name, each in declared.arguments.items()
        if not each.in_identity and name in stored
    }
    vars(command).update(own, _extra_options={**command._extra_options, **extra})  # noqa: SLF001  this module's own
    return [name for name, value in {**extra, **own}.items() if before.get(name) != value]


def unbind(command: AsyncCommand) -> None:
    """Close the command's run: its resources are gone."""
    command._session = None  # noqa: SLF001  this module's own
