"""What the watchers of the benchmark ask: two views, of which one shares its look at the run."""

from __future__ import annotations

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

import async_commander as ac  # noqa: E402

from .watchers import asked_by_each  # noqa: E402


async def shared(request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    """One look a second for all who watch."""
    del request
    return ac.EventStreamResponse(ac.awatch(run_id))


async def each(request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    """A look a second for this client."""
    del request
    return ac.EventStreamResponse(asked_by_each(run_id))


urlpatterns = [path("0/<int:run_id>", shared), path("1/<int:run_id>", each)]
settings.ROOT_URLCONF = __name__
settings.ALLOWED_HOSTS = ["127.0.0.1"]
application = get_asgi_application()
