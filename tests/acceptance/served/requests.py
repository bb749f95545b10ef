"""A project whose views run a command, wait for it, stream it, watch it, or only answer."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

import async_commander as ac  # noqa: E402
from async_commander.models import Run  # noqa: E402
from tests.testapp.models import Effect  # noqa: E402


class Job(ac.IterateDownloadCommand[int, int]):
    """Items that wait a little, some of which fail, and whose rows can be counted."""

    items: int = 12
    pause: float = 0.02

    limits = ac.Limits(threads=3, batch_size=4, db_lanes=1)

    def iterate(self) -> range:
        return range(self.items)

    async def download(self, item: int) -> int:
        await asyncio.sleep(self.pause)
        if item == 5:
            raise ValueError("the fifth is never right")
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=f"{self.record.pk}-{item}"))


def asked(request: HttpRequest) -> dict[str, Any]:
    found = {"items": int(request.GET.get("items", 12)), "pause": float(request.GET.get("pause", 0.02))}
    return {name: found[name] for name in found if name in request.GET}


async def run(request: HttpRequest) -> JsonResponse:
    result = await ac.arun(Job, **asked(request))
    return JsonResponse({"run": result.run_id, "status": result.status})


def run_plainly(request: HttpRequest) -> JsonResponse:
    result = ac.run(Job, **asked(request))
    return JsonResponse({"run": result.run_id, "status": result.status})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    return ac.EventStreamResponse(ac.astream(Job, **asked(request)))


async def watch(request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    await Run.objects.aget(pk=run_id)
    return ac.EventStreamResponse(ac.awatch(run_id, after=request.headers.get("Last-Event-ID")))


def news(request: HttpRequest, run_id: int) -> JsonResponse:
    return JsonResponse({"events": [one.as_dict() for one in ac.run_events(run_id, request.GET.get("after"))]})


def at_work(request: HttpRequest) -> JsonResponse:
    runs = Run.objects.filter(status="running", done__gt=2)
    return JsonResponse(list(runs.values_list("pk", flat=True)), safe=False)


async def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse(json.dumps(len(asyncio.all_tasks())))


urlpatterns = [
    path("run", run),
    path("run-plainly", run_plainly),
    path("stream", stream),
    path("watch/<int:run_id>", watch),
    path("news/<int:run_id>", news),
    path("at-work", at_work),
    path("ping", ping),
]
settings.ROOT_URLCONF, settings.ALLOWED_HOSTS = __name__, ["127.0.0.1"]
settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
application = get_asgi_application()
wsgi = get_wsgi_application()
