"""What a synchronous management command does: a pool of threads, requests, and `save()` for each row."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import requests
from django.db import connection

from benchmarks.job import Job, parse
from benchmarks.models import Page

_thread = threading.local()


def run(job: Job) -> None:
    """Fetches and saves in as many threads as the job allows."""
    with ThreadPoolExecutor(job.threads) as pool:
        for _ in pool.map(_fetch, job.urls()):
            pass
        barrier = threading.Barrier(job.threads)
        for _ in pool.map(_leave, [barrier] * job.threads):
            pass


def _fetch(url: str) -> None:
    response = _session().get(url, timeout=60)
    response.raise_for_status()
    title, links = parse(url, response.text)
    Page(url=url, title=title, links=links).save()


def _session() -> requests.Session:
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
    session: requests.Session = _thread.session
    return session


def _leave(barrier: threading.Barrier) -> None:
    """Closes what this thread has open; the barrier sees to it that each thread gets one of these calls."""
    barrier.wait(60)
    _session().close()
    connection.close()
