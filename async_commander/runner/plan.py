"""Everything that is settled about a run before it begins."""

from __future__ import annotations

import getpass
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import DatabaseError, connections, router
from django.utils.module_loading import import_string

from async_commander.cache.store import Store, open_store
from async_commander.command.annotations import label_of
from async_commander.command.arguments import REQUIRED, Argument, to_json
from async_commander.command.base import AsyncCommand, redactor_of
from async_commander.command.declaration import declaration_of, filled_in
from async_commander.command.needs import Need, needs_of
from async_commander.command.options import PROCESSES, REQUESTS, kinds_in
from async_commander.command.parser import ExtraOption
from async_commander.command.registry import find_command, name_of
from async_commander.command.run_identity import RunIdentity
from async_commander.command.values import plain_json
from async_commander.conf import get_settings
from async_commander.database.preparing import Preparation, Tenants
from async_commander.database.schema_errors import lacks_schema
from async_commander.engine.context import current_run
from async_commander.engine.cpus import available_cpus
from async_commander.engine.limits import BOUNDS, Limits
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, InvalidCommand, MissingDependency
from async_commander.history.recorder import Opened, Opening, Recorder
from async_commander.models import Run
from async_commander.pool.payload import UnpicklablePayload, dump_call
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN, Redactor
from async_commander.text.values import redacted_value

from .request import RunRequest, split_call
from .signals import open_run
from .threads import a_person_is_there


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A command with all that was decided about its run."""

    command: AsyncCommand
    name: str
    alias: str
    limits: Limits
    request: RunRequest
    opening: Opening
    shared: bool
    recorder: Recorder | None = None
    preparation: Preparation | None = None
    """What each connection of the run is prepared with."""
    store: Store | None = None
    """Where the results of cached methods are kept, if there are any."""
    tenants: Tenants | None = None
    processes: int | None = None
    """As they were given to `make_plan`: for the plan of a run that this one depends on."""
    before: tuple[str, ...] = ()
    """The identities of the runs for whose sake this one is run first."""
    redact: Redactor = field(default_factory=Redactor, repr=False)
    """Keeps the command's secrets out of every text."""


def database_of(request: RunRequest) -> str:
    """The alias of the database that a run is recorded in. InvalidCommand where it is not configured."""
    alias = request.database or router.db_for_write(Run)
    if alias not in connections:
        raise InvalidCommand(f"There is no database {alias!r}; DATABASES has {', '.join(connections)}.")
    return alias


def make_plan(
    command: AsyncCommand,
    request: RunRequest,
    *,
    shared: bool,
    tenants: Tenants | None = None,
    recorder: Recorder | None = None,
    processes: int | None = None,
) -> Plan:
    """Settle everything about a run, whose caller works for these tenants.

    `processes` is the pool's size where no layer of limits gives one.

    Raises InvalidCommand for whatever cannot be used, before anything is begun.
    """
    cls = type(command)
    name = name_of(cls)
    if (run := current_run()) is not None and run.dry_run and not request.dry_run:
        request = replace(request, dry_run=True)  # a run that a dry run begins
    if request.is_cut:
        _check_cut(cls, request, shared=shared, tenants=tenants, recorder=recorder)
        count = request.shards or available_cpus()
        request = replace(request, distribute=request.distribute or PROCESSES, shards=count)
        if request.distribute == PROCESSES:
            processes = max(1, (processes or available_cpus()) // count)
    parameters = to_json(cls, command.parameters)
    options = {**request.stored_options(), **_own_options(command)}
    declared = declaration_of(cls).arguments
    redact = redactor_of(command)
    known_by = RunIdentity(name, parameters, declared, redact)
    alias, around = database_of(request), open_run.get()
    limits = layered_limits(cls, request, processes)
    goes_on = request.resume_run is not None or request.retry_failed is not None
    return Plan(
        command=command,
        name=name,
        alias=alias,
        limits=limits,
        request=request,
        shared=shared,
        recorder=recorder,
        preparation=_preparation(command, None if shared else tenants),
        tenants=tenants,
        processes=processes,
        redact=redact,
        store=open_store() if declaration_of(cls).cached else None,
        opening=Opening(
            command=name,
            identity=known_by.digest,
            parameters=redacted_value(parameters, redact, shown=declared),
            options=redacted_value(plain_json(options), redact, shown=declared),
            known_by=known_by,
            anew=request.yes or not (request.trigger == "terminal" and a_person_is_there()),
            limits={bound: getattr(limits, bound) for bound in BOUNDS},
            trigger=request.trigger,
            user=request.user or login_of(request.trigger),
            resume=request.resume,
            resume_run=request.resume_run,
            retry_failed=request.retry_failed,
            queued=request.queued,
            only_kinds=kinds_in(request.only_kind),
            once=cls.run_once and not request.test,
            dry_run=request.dry_run,
            single=cls.single_instance,
            wait=request.wait,
            force=request.force,
            longest_wait=max(command.retry.maximum, command.retry.retry_after_cap),
            testing=request.test,
            pausable=declaration_of(cls).has_items,
            given=tuple(request.limits.given),
            needs=() if request.test or request.ignore_dependencies or goes_on else needs_of(command),
            parent=around.row if around is not None and around.alias == alias else None,
            shards=request.shards,
        ),
    )


def plan_of_shard(command: AsyncCommand, request: RunRequest, row: int) -> Plan:
    """The plan of one shard of a run; what the run as a whole was asked for, and its turn, are settled there."""
    plan = make_plan(command, request, shared=False, tenants=Tenants())
    opening = replace(plan.opening, carries=row, once=False, single=False, needs=())
    return replace(plan, opening=opening)


ENGINE_OF = "async_commander.queues.engine.engine_of"
"""In the room above this one: what finds an engine by its name."""


def _check_cut(
    cls: type[AsyncCommand],
    request: RunRequest,
    *,
    shared: bool,
    tenants: Tenants | None,
    recorder: Recorder | None,
) -> None:
    """InvalidCommand where a run of this command, or of this caller, cannot be cut into shards."""
    remedy = "leave distribute and shards out."
    _check_found(cls, request.distribute or PROCESSES, remedy)
    if request.dry_run:
        raise InvalidCommand(f"A dry run rolls back what it writes, in one process: {remedy}")
    if request.max_items is not None:
        raise InvalidCommand(f"max_items is counted in one process, which takes one item after the other: {remedy}")
    stages = declaration_of(cls).stages
    if stages is not None and not stages.divisible:
        raise InvalidCommand(
            f"{label_of(cls)} is an import, which looks at all of its rows for duplicates and for those that are gone: "
            f"it cannot be cut; {remedy}"
        )
    if shared:
        raise InvalidCommand(
            "A run that is cut into shards is carried by other processes, and these see nothing of a transaction that "
            "is open here, or of SQLite in memory: begin it outside of atomic(), with a database in a file or on a "
            "server; in a test with transaction=True."
        )
    if tenants:
        raise InvalidCommand(f"The caller's tenant does not travel to other processes: {remedy}")
    if recorder is not None:
        raise InvalidCommand(f"A recorder of your own does not travel to other processes: {remedy}")


def _check_found(cls: type[AsyncCommand], engine: str, remedy: str) -> None:
    """InvalidCommand where there is no such engine, or those that are to carry the command cannot find it."""
    if engine == PROCESSES:
        from multiprocessing import current_process

        if getattr(current_process(), "_inheriting", False):  # as multiprocessing tells it
            raise InvalidCommand(
                "The script that begins this run is read once more by each process that is to carry a shard of it. Put "
                "what begins it under `if __name__ == '__main__':`."
            )
        try:
            dump_call(cls, ())
        except UnpicklablePayload as error:
            told = f"Other processes cannot find {label_of(cls)}: write it at the top of a module, or {remedy}"
            raise InvalidCommand(told) from error
        return
    try:
        import_string(ENGINE_OF)(engine)
        find_command(name_of(cls))
    except (InvalidCommand, CommandNotFound) as error:
        raise InvalidCommand(f"distribute={engine!r:.80}: {PROCESSES} or an engine. {error}") from error


DEEPEST = 100
"""Runs that are begun one for the sake of the other, at most."""


def plan_before(plan: Plan, need: Need) -> Plan:
    """The plan of a run that another one depends on. It is asked for by the same person, at the same place.

    MissingDependency where it cannot be run with what the dependency names.
    """
    before = (*plan.before, plan.opening.identity)
    if need.known_by.digest in before or len(before) > DEEPEST:
        raise MissingDependency(f"{need} is needed by what it needs itself, without an end: no run was begun.")
    try:
        command = need.command_class(**need.known_by.parameters)
    except (TypeError, InvalidCommand) as error:
        raise MissingDependency(f"{need}, which {plan.name} depends on, cannot be run: {error}") from error
    asked, _ = split_call(filled_in(need.command_class, {}), declaration_of(need.command_class).names)
    request = replace(
        asked,
        **{name: getattr(plan.request, name) for name in _OF_THE_CALLER},
        run_dependencies=True,
        trigger="dependency",
        user=plan.opening.user,
    )
    made = make_plan(command, request, shared=plan.shared, tenants=plan.tenants, processes=plan.processes)
    return replace(made, before=before)


_OF_THE_CALLER = (
    "verbosity", "database", "stdout", "stderr", "json", "no_color", "force_color", "lease_seconds", "yes", "grace",
)  # fmt: skip


def _preparation(command: AsyncCommand, tenants: Tenants | None) -> Preparation | None:
    """The command's hook, else the project's setting, else the tenants of the caller, if it has any."""
    path = get_settings().prepare_connection
    if "prepare_connection" in declaration_of(type(command)).hooks:
        return Preparation(command.prepare_connection)
    if path:
        try:
            return Preparation(import_string(path))
        except ImportError as error:
            raise InvalidCommand(f"ASYNC_COMMANDER['PREPARE_CONNECTION'] is {path!r}: {error}") from error
    return Preparation(tenants.give_to) if tenants else None


def as_opened(plan: Plan, opened: Opened) -> Plan:
    """The plan of a run as its record has it.

    What was asked of a resumed one the first time applies, but for limits and progress.
    """
    plan = replace(plan, opening=replace(plan.opening, identity=opened.identity or plan.opening.identity))
    if not opened.resumed:
        return plan
    stored = opened.options
    request = replace(plan.request, force=bool(stored.get("force")), delete=bool(stored.get("delete")))
    opening = replace(plan.opening, options=opened.options, testing=opened.testing)
    return replace(plan, request=request, opening=opening)


@dataclass(frozen=True, slots=True)
class StoredArguments:
    """What a stored run was begun with: `values` to make its command with again, `lacking` the names of the secrets
    that it does not keep and that have to be given once more.
    """

    values: dict[str, Any]
    lacking: list[str]
    shared: dict[str, Any]
    """The shared options that were asked of it and are kept."""


def stored_arguments(cls: type[AsyncCommand], run_id: int, alias: str, given: Collection[str]) -> StoredArguments:
    """The arguments of a run that is to be resumed, or begun again, by its number.

    `given` are the names that were given anew.

    Uses the calling thread's connection, and closes it where it was closed before. InvalidCommand where there is no
    such run of this command.
    """
    connection, name = connections[alias], name_of(cls)
    was_open = connection.connection is not None
    try:
        wanted = ("command", "parameters", "options", "testing", "dry_run")
        run = Run.objects.using(alias).only(*wanted).numbered(run_id)
    except DatabaseError as error:
        if remedy := missing_tables(error, alias):
            raise remedy from error
        raise AsyncCommanderError(f"Run {run_id} cannot be read from {alias!r} ({str(error).strip()}).") from error
    finally:
        if not was_open:
            connection.close()
    if run.command != name:
        raise InvalidCommand(f"Run {run_id} is one of {run.command}: it cannot be resumed as {name}, nor begun again.")
    stored = {**run.options, **run.parameters}
    declared, extra = declaration_of(cls).arguments, declaration_of(cls).extra
    whole = {one: value for one, value in stored.items() if one not in given and HIDDEN not in str(value)}
    values = {one: extra[one].restored(value) if one in extra else value for one, value in whole.items()}
    lacking = [
        one
        for one in [*declared, *extra]
        if one not in given and _is_lacking(declared[one] if one in declared else extra[one], stored.get(one))
    ]
    own = {one: value for one, value in values.items() if one in declared or one in extra}
    shared = {one: value for one, value in run.options.items() if one in REQUESTS and one not in own}
    marks = {"test": run.testing, "dry_run": run.dry_run}
    return StoredArguments(own, lacking, {**shared, **{name: True for name, there in marks.items() if there}})


def _is_lacking(argument: Argument | ExtraOption, stored: Any) -> bool:
    """Whether a value has to be given again: it was given and is hidden, or cannot be left out and is not stored."""
    if isinstance(argument, Argument) and argument.from_env() is not REQUIRED:
        return False
    return HIDDEN in str(stored) or (argument.required and stored is None)


def lacking_in_words(run_id: int, lacking: Sequence[str]) -> str:
    """What to say where a run does not keep all that it was begun with."""
    return (
        f"Run {run_id} does not keep the value of {' and of '.join(lacking)}: give it again, beside the number of the "
        "run, or by the argument's environment variable."
    )


def layered_limits(cls: type[AsyncCommand], request: RunRequest, processes: int | None = None) -> Limits:
    """The bounds of a run: this call's, the class's, the settings', the defaults."""
    try:
        settings = Limits(**get_settings().limits)
    except (TypeError, ValueError) as error:
        raise InvalidCommand(f"ASYNC_COMMANDER['LIMITS']: {error}") from error
    counted = None if processes is None else Limits(processes=processes)
    endless = Limits(max_failures=None) if cls.always_on else None  # one bad message is never the end of all
    return Limits.layered(request.limits, cls.limits, settings, counted, endless)


def _own_options(command: AsyncCommand) -> dict[str, Any]:
    """As they are kept: of secrets only that they were given."""
    cls, known = type(command), declaration_of(type(command)).arguments
    declared = declaration_of(cls).extra
    extra = {
        name: value
        for name, value in command.options.items()
        if name not in known and not (is_secret_name(name) and name in declared and value == declared[name].default)
    }
    secret = {
        name: HIDDEN
        for name, each in known.items()
        if each.secret and getattr(command, name) != (REQUIRED if each.required else each.accept(each.default))
    }
    return {**extra, **to_json(cls, command.options), **secret}


def login_of(trigger: str) -> str:
    """Who started a run from the terminal; empty where that is not to be known."""
    if trigger != "terminal":
        return ""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def missing_tables(error: BaseException, alias: str) -> AsyncCommanderError | None:
    """The remedy, where the reason for a database error is that the migrations were not run."""
    if not lacks_schema(error) or "async_commander_" not in str(error).lower():
        return None
    option = "" if alias == "default" else f" --database {alias}"
    return InvalidCommand(
        f"The database {alias!r} lacks the tables of async_commander ({error}). "
        f"Run `manage.py migrate async_commander{option}` first."
    )
