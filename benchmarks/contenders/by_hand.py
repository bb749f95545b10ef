"""The hand-written optimum: the same client, workers that share a source, a thread that writes in batches.

It keeps no history, tries nothing again, and a crash in the middle starts it from the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

import aiohttp
import httpx
from django.db import connection, transaction
from httpx_aiohttp import AiohttpTransport

from benchmarks.job import Job, parse
from benchmarks.loops import new_event_loop
from benchmarks.models import Page

T = TypeVar("T")

BATCH_SIZE = 100


def run(job: Job) -> None:
    """Fetches on a fresh loop and writes in a thread beside it."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_fetch_all(job))


async def _fetch_all(job: Job) -> None:
    urls = job.urls()
    connector = aiohttp.TCPConnector(limit=job.threads)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    async with httpx.AsyncClient(transport=AiohttpTransport(client=session), trust_env=False) as client:
        writer = _Writer()
        async with asyncio.TaskGroup() as group:
            for _ in range(job.threads):
                group.create_task(_work(urls, client, writer))
        await writer.finish()


async def _work(urls: Iterator[str], client: httpx.AsyncClient, writer: _Writer) -> None:
    for url in urls:
        response = await client.get(url)
        response.raise_for_status()
        title, links = parse(url, response.text)
        await writer.put(Page(url=url, title=title, links=links))


class _Writer:
    """A thread that writes all that is there, one transaction for each batch; at most two batches are unwritten."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Page | None] = SimpleQueue()
        self.room = asyncio.Semaphore(2 * BATCH_SIZE)
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self.loop.create_future()
        self.thread = Thread(target=self._write_all, daemon=True)
        self.thread.start()

    async def put(self, page: Page) -> None:
        await self.room.acquire()
        self.queue.put(page)

    async def finish(self) -> None:
        """Returns when everything is written. Raises what writing raised."""
        self.queue.put(None)
        await self.finished
        self.thread.join()

    def _write_all(self) -> None:
        try:
            while batch := self._next_batch():
                with transaction.atomic():
                    Page.objects.bulk_create(batch)
                self._tell(self._release, len(batch))
            self._tell(self.finished.set_result, None)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the end
            self._tell(self.finished.set_exception, error)
        finally:
            connection.close()

    def _next_batch(self) -> list[Page]:
        """What is there, waiting for the first page only; empty at the end."""
        batch: list[Page] = []
        page = self.queue.get()
        while page is not None:
            batch.append(page)
            if len(batch) == BATCH_SIZE:
                return batch
            try:
                page = self.queue.get_nowait()
            except Empty:
                return batch
        if batch:
            self.queue.put(None)
        return batch

    def _release(self, count: int) -> None:
        for _ in range(count):
            self.room.release()

    def _tell(self, function: Callable[[T], object], argument: T) -> None:
        self.loop.call_soon_threadsafe(function, argument)
