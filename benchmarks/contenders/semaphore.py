"""What a first asynchronous version looks like: httpx, a semaphore, a task for each page and `asave` for each row."""

from __future__ import annotations

import asyncio

import httpx
from asgiref.sync import sync_to_async
from django.db import connections

from benchmarks.job import Job, parse
from benchmarks.loops import new_event_loop
from benchmarks.models import Page


def run(job: Job) -> None:
    """Fetches and saves on a fresh loop."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_fetch_all(job))


async def _fetch_all(job: Job) -> None:
    semaphore = asyncio.Semaphore(job.threads)
    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
        for url in job.urls():
            group.create_task(_fetch(url, client, semaphore))
    await sync_to_async(connections.close_all)()


async def _fetch(url: str, client: httpx.AsyncClient, semaphore: asyncio.Semaphore) -> None:
    async with semaphore:
        response = await client.get(url)
        response.raise_for_status()
        title, links = parse(url, response.text)
        await Page(url=url, title=title, links=links).asave()
