"""Celery: a task for each page, carried by one worker with as many threads as pages may be fetched at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import requests
from celery import Celery

from benchmarks.job import Job, parse

app = Celery(
    "benchmarks", broker=f"redis://{os.environ.get('REDIS_HOST', '127.0.0.1')}:{os.environ.get('REDIS_PORT', '6379')}/5"
)
app.conf.update(
    task_ignore_result=True, task_default_queue=f"benchmarks-{os.environ.get('BENCHMARK_QUEUE', os.getpid())}"
)


@app.task(name="fetch")
def fetch(url: str) -> None:
    """One page."""
    from benchmarks.models import Page

    response = requests.get(url, timeout=60)
    response.raise_for_status()
    title, links = parse(url, response.text)
    Page(url=url, title=title, links=links).save()


def run(job: Job) -> float:
    """Seconds from the first task that is sent to the last row. The worker waits already."""
    from benchmarks.models import Page

    line = [sys.executable, "-m", "benchmarks.peers.worker", "worker", "--pool", "threads", "--without-mingle"]
    line += ["--without-gossip", "--without-heartbeat", "--concurrency", str(job.threads), "--loglevel", "WARNING"]
    environ = os.environ | {"BENCHMARK_QUEUE": str(os.getpid())}
    with subprocess.Popen(line, env=environ, stdout=sys.stderr) as worker:
        try:
            while not app.control.ping(timeout=0.5) and worker.poll() is None:
                time.sleep(0.1)
            start = time.perf_counter()
            for url in job.urls():
                fetch.delay(url)
            while Page.objects.count() < job.pages and worker.poll() is None:
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            worker.send_signal(signal.SIGTERM)
