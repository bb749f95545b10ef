"""What belongs to one item and to no other while it downloads.

By itself, as the runner needs it for every run: one that downloads nothing loads no httpx.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx


class ItemScope:
    """One attempt at an item, tasks that it starts included. The runner sets it; the client keeps cookies in it."""

    cookies: Mapping[object, httpx.Cookies] = MappingProxyType({})
    """By client. Most items have none: on the class they cost nothing."""


item_scope: ContextVar[ItemScope | None] = ContextVar("async_commander_item_scope", default=None)
"""None outside of items: in `handle()`, `iterate()`, `lifespan()`."""
