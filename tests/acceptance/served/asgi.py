"""A project of one view, which runs a command and waits for it."""

from __future__ import annotations

import asyncio
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

import async_commander as ac  # noqa: E402


class Command(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=3)

    async def iterate(self):
        return range(10_000)

    async def download(self, item: int) -> int:
        await asyncio.sleep(0.02)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...

    async def cleanup(self) -> None:
        await asyncio.sleep(0.01)
        self.log.info("cleaned up")


async def view(request: HttpRequest) -> HttpResponse:
    result = await ac.arun(Command())
    return HttpResponse(result.status)


urlpatterns = [path("run", view)]
settings.ROOT_URLCONF = __name__
application = get_asgi_application()
