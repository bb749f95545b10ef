"""Moments: as the models of the project keep them (with USE_TZ off naive, in TIME_ZONE), and as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from django.conf import settings
from django.utils import timezone

Moment = TypeVar("Moment", datetime, datetime | None)


def as_stored(moment: Moment) -> Moment:
    """The same moment as every DateTimeField has it: with USE_TZ off naive, in TIME_ZONE."""
    if settings.USE_TZ or moment is None or timezone.is_naive(moment):
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def moment(at: datetime | None) -> str:
    """A point in time in the project's time zone, to the second."""
    if at is None:
        return ""
    return (timezone.localtime(at) if timezone.is_aware(at) else at).strftime("%Y-%m-%d %H:%M:%S")
