"""What is kept of runs. The room answers to its name: `ac.history("shop.seed")` gives a command's runs."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from async_commander.models import RunQuerySet


class _Room(ModuleType):
    def __call__(self, name: str, limit: int | None = 10, *, using: str | None = None) -> RunQuerySet:
        """See `tracking.history`."""
        from .tracking import history

        return history(name, limit, using=using)


sys.modules[__name__].__class__ = _Room
