"""The runs of plain Django commands and of functions by name: recorded by hand, asked about, counted."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import router, transaction
from django.db.models import Subquery, Value
from django.db.models.functions import Coalesce

from async_commander.command.identity import identity
from async_commander.exceptions import InvalidCommand
from async_commander.results import AT_WORK, RunStatus
from async_commander.text.names import is_secret_name
from async_commander.text.redactor import Redactor
from async_commander.text.values import ADDRESS, redacted_value, text_of_value

from .ownership import host_name

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from async_commander.models import Run, RunQuerySet

NAME_LENGTH = 200

Some = TypeVar("Some", bound="QuerySet[Any]")


def plain_identity(name: str) -> str:
    """What the runs of a plain command are known by: its name alone, whatever its options."""
    return identity(name, {})


def should_run(name: str, *, using: str | None = None) -> bool:
    """Whether nothing of this name, that is to run once, has succeeded or is at work.

    `name` is a plain command's, `shop.seed` or `seed`, or any that was recorded. It is a look, and no lock: two that
    look in one instant both may see nothing. `run_once = True` on the command keeps the second one out.
    """
    from async_commander.models import Run

    from .reading import recorded_names
    from .runs import is_orphan

    alias = using or router.db_for_write(Run)
    keys = [plain_identity(one) for one in recorded_names(name)]
    holders = Run.objects.using(alias).filter(once_key__in=keys)
    return all(run.status in AT_WORK and is_orphan(alias, run) for run in holders)


def history(name: str, limit: int | None = 10, *, using: str | None = None) -> RunQuerySet:
    """The newest runs of a command, newest first: a queryset, to be filtered, counted, iterated in either way.

    `limit=None` gives all of them. `ac.history("shop.seed", limit=None).statistics()` counts them up. Where no event
    loop runs, those whose process is gone are marked as crashed first.
    """
    from async_commander.models import Run

    from .reading import notice_crashes_now, recorded_names

    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidCommand(f"limit={limit!r}: a whole number from 0 is needed, or None for all runs")
    alias = using or router.db_for_read(Run)
    notice_crashes_now(using or router.db_for_write(Run))
    return newest(Run.objects.using(alias).whole().filter(command__in=recorded_names(name)), limit)


def newest(runs: Some, limit: int | None) -> Some:
    """Of these runs the newest `limit`, newest first, as a queryset that can be filtered further; None: all."""
    found = runs.order_by("-pk")
    if limit is None:
        return found
    if limit == 0:
        return found.none()
    # The oldest of them by its number, in the same statement: a slice could not be filtered any more.
    oldest = Subquery(found.values("pk")[limit - 1 : limit])
    return found.filter(pk__gte=Coalesce(oldest, Value(0)))


def record_run(  # noqa: PLR0917 - what django-managed-commands takes, in its order
    name: str,
    success: bool = True,  # noqa: FBT001 - likewise
    parameters: Mapping[str, Any] | None = None,
    output: str = "",
    error_message: str = "",
    duration: float | None = None,
    run_once: bool = False,  # noqa: FBT001 - likewise
    *,
    using: str | None = None,
) -> Run:
    """Record what was done under a name, and return its row.

    `duration` in seconds. With `run_once` a success counts as the one run of that name: `should_run(name)` is false
    from then on, and a command of that name with `run_once` is skipped. The newest record decides: one that failed, or
    is not `run_once`, lets it happen again. Values that JSON has no form for are kept as their text, secrets hidden.
    The row is written on the caller's connection, and is part of its transaction: it may be used in a migration.
    """
    from async_commander.models import Run

    from .lease import database_now
    from .runs import TEXT_CAP

    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH:
        raise InvalidCommand(f"name={name!r:.80}: a text of 1 to {NAME_LENGTH} characters is needed")
    if duration is not None and not (isinstance(duration, int | float) and 0 <= duration < math.inf):
        raise InvalidCommand(f"duration={duration!r:.80}: seconds from 0 are needed, or None")
    alias, once_key, given = using or router.db_for_write(Run), plain_identity(name), dict(parameters or {})
    redact = redactor_of_values(given)
    with transaction.atomic(using=alias):
        # It writes first: so it waits for its turn on SQLite, too, rather than be refused.
        of_this_name = Run.objects.using(alias).filter(once_key=once_key)
        of_this_name.exclude(status__in=AT_WORK).update(once_key=None)
        has_key = success and run_once and not of_this_name.exists()
        now = database_now(alias)
        return Run.objects.using(alias).create(
            command=name,
            identity=once_key,
            once_key=once_key if has_key else None,
            parameters=kept_values(given, redact),
            status=(RunStatus.SUCCEEDED if success else RunStatus.FAILED).value,
            trigger="record",
            host=host_name(),
            pid=os.getpid(),
            started=now - timedelta(seconds=duration or 0),
            finished=now,
            output=redact.end(str(output), TEXT_CAP),
            error=redact(str(error_message), TEXT_CAP),
        )


def redactor_of_values(values: Mapping[str, Any]) -> Redactor:
    """What hides those of these values that stand under a secret name."""
    return Redactor(value for name, value in values.items() if value and is_secret_name(str(name)))


def kept_values(values: Mapping[str, Any], redact: Redactor) -> dict[str, Any]:
    """Values of any kind as they are kept: JSON, else as text; secrets are hidden."""
    kept: dict[str, Any] = redacted_value({str(name): _readable(value) for name, value in values.items()}, redact)
    return kept


def _readable(value: Any) -> Any:
    try:
        if isinstance(value, Mapping):
            return {str(name): _readable(one) for name, one in value.items()}
        if isinstance(value, set | frozenset):
            return sorted(map(_readable, value), key=str)
        if isinstance(value, list | tuple):
            return [_readable(one) for one in value]
    except RecursionError:  # it contains itself
        return ADDRESS.sub("", text_of_value(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return ADDRESS.sub("", text_of_value(value, str))
