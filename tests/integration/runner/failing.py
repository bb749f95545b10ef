"""Items that fail where a test says so, and what became of them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import async_commander as ac
from tests.testapp.models import Tag

QUICK = ac.Retry(attempts=3, initial=0.001, maximum=0.002)


class Items(ac.IterateDownloadCommand[str, str]):
    """Items a to f, each saved as a tag; `fail(item)` is for the tests."""

    retry = QUICK

    async def iterate(self):
        return list("abcdef")

    async def download(self, item: str) -> str:
        self.fail(item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload))

    def fail(self, item: str) -> None: ...


def tags() -> str:
    return "".join(sorted(Tag.objects.values_list("name", flat=True)))


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def http_error(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://example.org/")
    return httpx.HTTPStatusError(str(status), request=request, response=httpx.Response(status, headers=headers))
