"""What a management command looks like on the first day: a loop, requests, and `save()`."""

from __future__ import annotations

import time

import requests

from benchmarks.job import Job, parse
from benchmarks.models import Page


def run(job: Job) -> float:
    """Seconds for all pages, one after another on one connection."""
    start = time.perf_counter()
    with requests.Session() as session:
        for url in job.urls():
            response = session.get(url, timeout=60)
            response.raise_for_status()
            title, links = parse(url, response.text)
            Page(url=url, title=title, links=links).save()
    return time.perf_counter() - start
