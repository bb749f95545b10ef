"""A clock that goes by the calendar: `ac.cron("30 6 * * mon-fri")`."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import anyio
from asgiref.sync import sync_to_async
from cronsim import CronSim, CronSimError
from django.db import IntegrityError, transaction
from django.utils import timezone

from async_commander.command.identity import canonical_json
from async_commander.engine.context import current_run
from async_commander.runner.signals import open_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.db.models import QuerySet

    from async_commander.models import Lease

LATE_SECONDS = 60.0
_ON_TIME = timedelta(seconds=1)
"""Who was waited for is never later than that, unless the machine slept."""
_LONGEST_LOOK_AWAY = 5.0
"""Seconds after which the calendar is looked at again: its clock may be set, and the machine sleep."""


def cron(
    line: str, *, tz: str | tzinfo | None = None, late: float | timedelta = LATE_SECONDS
) -> AsyncIterator[datetime]:
    """The moments of a cron line as they come, for `async for`: aware datetimes, none of them twice.

    `line` has five fields (minute, hour, day of the month, month, day of the week), or six with seconds before them,
    as Debian's cron reads them; around a change to summer time and back, too. `tz` is the time zone they are meant in,
    the project's TIME_ZONE by default.

    A moment that passed more than `late` seconds ago, since the machine slept or the step before took so long, is left
    out. Inside a run each moment is taken by one run only, of all that have the same command, arguments, line and zone,
    in any process: two copies share them, and one that begins anew takes what passed meanwhile, up to `late` seconds
    ago, and nothing again. The moments end when the run is asked to stop.

    Raises ValueError for a line that is wrong, or names no moment ever, and for an unknown time zone; TypeError for
    other types.
    """
    if not isinstance(line, str):
        raise TypeError(f"cron({line!r:.80}): a text is needed, as '*/5 * * * *'")
    zone = _zone(tz)
    seconds = late.total_seconds() if isinstance(late, timedelta) else late
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"late={late!r:.80}: a number of seconds is needed")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"late={late!r}: from 0 seconds on is allowed, and not infinitely much")
    try:
        next(CronSim(line, datetime.now(zone)))
    except CronSimError as error:
        raise ValueError(
            f"cron({line!r:.80}): {error}; five fields are needed (minute, hour, day of the month, month, day of the "
            "week), or six with seconds before them, as '*/5 * * * *' or '30 6 * * mon-fri'"
        ) from None
    except StopIteration:
        raise ValueError(f"cron({line!r:.80}): there is no such day in the next 50 years") from None
    return _moments(line, zone, timedelta(seconds=seconds))


def _zone(tz: str | tzinfo | None) -> tzinfo:
    if tz is None:
        return timezone.get_default_timezone()
    if isinstance(tz, tzinfo):
        return tz
    if not isinstance(tz, str):
        raise TypeError(f"tz={tz!r:.80}: the name of a time zone is needed, as 'Europe/Vienna', or a tzinfo")
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"tz={tz!r:.80}: there is no such time zone; 'Europe/Vienna' and 'UTC' are some") from None


async def _moments(line: str, zone: tzinfo, late: timedelta) -> AsyncIterator[datetime]:
    place = _Place.of_this_run(line, zone)
    last = None if place is None else await sync_to_async(place.last)()
    after = _now()
    if last is not None:
        after = max(last, after - late)
    while True:
        due = next(CronSim(line, after.astimezone(zone)))  # begun anew, as the clock may be set
        if not await _is_due(due):
            return
        # Taken or not, late or not: the next one is after it. A clock that is set back brings none of them again.
        after = max(due.astimezone(UTC), _now() - late)
        is_late = _now() - due > max(late, _ON_TIME)
        if not is_late and (place is None or await sync_to_async(place.take)(due)):
            yield due


def _now() -> datetime:
    return datetime.now(UTC)


async def _is_due(moment: datetime) -> bool:
    """Wait for a moment of the calendar; False where the run is asked to stop before."""
    run = current_run()
    while (left := (moment - _now()).total_seconds()) > 0:
        with anyio.move_on_after(min(left, _LONGEST_LOOK_AWAY)):
            await (anyio.sleep_forever() if run is None else run.stop_asked.wait())
        if run is not None and run.stopping:
            return False
    if run is not None:
        await run.gate.passed()
    return run is None or not run.stopping


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the last moment that was taken is kept: the epoch of a lease that nobody holds."""

    alias: str
    name: str

    @classmethod
    def of_this_run(cls, line: str, zone: tzinfo) -> _Place | None:
        """None outside of a run that has a row, and in a trial."""
        run, around = current_run(), open_run.get()
        if run is None or around is None or around.row is None or run.testing or run.dry_run:
            return None
        text = canonical_json([run.parameters, " ".join(line.upper().split()), str(zone)])
        return cls(around.alias, f"cron:{run.command[:120]}:{hashlib.sha256(text.encode()).hexdigest()[:32]}")

    def last(self) -> datetime | None:
        """The last moment that any run has taken."""
        number = self._rows().values_list("epoch", flat=True).first()
        return None if number is None else datetime.fromtimestamp(number, UTC)

    def take(self, moment: datetime) -> bool:
        """Whether it is ours: it is after all that were taken, and nobody was faster."""
        number = int(moment.timestamp())
        if self._rows().filter(epoch__lt=number).update(epoch=number):
            return True
        if self._rows().exists():
            return False
        try:
            with transaction.atomic(using=self.alias):
                self._rows().create(name=self.name, epoch=number)
        except IntegrityError:  # somebody else took the first one in this moment
            return bool(self._rows().filter(epoch__lt=number).update(epoch=number))
        return True

    def _rows(self) -> QuerySet[Lease]:
        from async_commander.models import Lease  # not before Django is set up, where `ac.cron` is only named

        return Lease.objects.using(self.alias).filter(name=self.name)
