"""Keeps the request at hand, so that the runs that a view begins know who asked for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware

from async_commander.runner.caller import served

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase


@sync_and_async_middleware
def run_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """`user` and `trigger` of the runs that a view begins: after AuthenticationMiddleware in MIDDLEWARE.

    It touches the user where a run begins, and not before.
    """
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            with _at_hand(request):
                awaited: Awaitable[HttpResponseBase] = get_response(request)
                return await awaited

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        with _at_hand(request):
            response: HttpResponseBase = get_response(request)
            return response

    return answer


@contextmanager
def _at_hand(request: HttpRequest) -> Iterator[None]:
    token = served.set(request)
    try:
        yield
    finally:
        served.reset(token)
