"""The suite's settings with static files, and with the strictest policy that the pages are to work under."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as SUITE
from tests.settings import MIDDLEWARE as OF_SUITE

POLICY = "default-src 'self'"


def with_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


INSTALLED_APPS = [*SUITE, "django.contrib.staticfiles"]
MIDDLEWARE = ["tests.browser.settings.with_policy", "django.middleware.csrf.CsrfViewMiddleware", *OF_SUITE]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
