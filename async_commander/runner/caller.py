"""Who asked for a run that begins in a request: known by the request, or by the middleware that keeps it at hand."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from async_commander.command.options import USER_LENGTH

if TYPE_CHECKING:
    from django.http import HttpRequest

    from .request import RunRequest

served: ContextVar[HttpRequest | None] = ContextVar("async_commander_served", default=None)
"""The request that the current code answers, where the project has the middleware."""


def is_served(request: RunRequest) -> bool:
    """Whether a run is asked for in a request, as far as is known."""
    return (request.request or served.get()) is not None


def as_served(request: RunRequest) -> RunRequest:
    """The same with `user` and `trigger` of the request, where they are not given. It may read the user's row."""
    http = request.request or served.get()
    if http is None:
        return request
    match = getattr(http, "resolver_match", None)
    trigger = "admin" if match is not None and "admin" in match.app_names else "view"
    return replace(
        request,
        trigger=trigger if request.trigger == "call" else request.trigger,
        user=request.user or name_of_user(getattr(http, "user", None)),
    )


def name_of_user(user: Any) -> str:
    """What a run's row keeps of a user; nothing of one that is not logged in."""
    return str(user.get_username())[:USER_LENGTH] if getattr(user, "is_authenticated", False) else ""
