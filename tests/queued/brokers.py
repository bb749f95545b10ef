"""The queues that the tests send through, each with a worker of its own."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection

from tests.queued.processes import Process, manage, workers
from tests.services import ADDRESSES, absence

ENGINES = ["worker", "tasks", "procrastinate", "celery-redis", "celery-rabbitmq"]
URLS = {
    "redis": f"redis://{ADDRESSES['redis'][0]}:{ADDRESSES['redis'][1]}/9",
    "rabbitmq": "amqp://{}:{}@{}:{}//".format(
        os.environ.get("RABBITMQ_USER", "guest"), os.environ.get("RABBITMQ_PASSWORD", "guest"), *ADDRESSES["rabbitmq"]
    ),
}


@dataclass(frozen=True)
class Queue:
    """One queue that nobody else uses."""

    engine: str
    begin: Callable[[], Process]
    """Starts a worker."""
    app: Any = None
    """The Celery application, where it is one."""

    def send_junk(self) -> None:
        """Messages that name no run, lack what names one, or cannot be read at all."""
        if self.engine == "celery":
            from async_commander.contrib.celery import run_command_task

            run_command_task.delay(999_999)
            self.app.send_task(run_command_task.name, kwargs={"number": 1})
            with self.app.connection_for_write() as opened:
                bound = opened.SimpleQueue(self.app.conf.task_default_queue)
                bound.producer.publish(b"\xff{not json", content_type="application/json", content_encoding="binary")
                bound.producer.publish(b"\x80\x04N.", content_type="application/x-python-serialize")
                bound.close()
        elif self.engine == "tasks":
            from async_commander.contrib.tasks import run_command_task as task

            task.enqueue(999_999)
            task.enqueue("12", nothing=True)
        elif self.engine == "procrastinate":
            from procrastinate.contrib.django import app

            for given in ({"run_id": 999_999}, {"run_id": None}, {"number": 1}):
                app.configure_task("async_commander.run_command_task").defer(**given)


@contextmanager
def queue(name: str) -> Iterator[Queue]:
    """A queue of this name, with what was in it removed at the end. Its tests are skipped where it is not to be had."""
    engine, _, broker = name.partition("-")
    if engine == "procrastinate" and connection.vendor != "postgresql":
        pytest.skip("Procrastinate has its queue in PostgreSQL")
    if broker and (reason := absence(broker)):
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with ExitStack() as stack:
        if engine == "celery":
            yield stack.enter_context(_celery(broker))
            return
        command = {
            "worker": ("aworker", "--interval", "0.1", "--concurrency", "2"),
            "tasks": ("db_worker", "--interval", "0.1", "--no-startup-delay"),
            "procrastinate": ("procrastinate", "worker", "--concurrency", "2", "--fetch-job-polling-interval", "0.2"),
        }[engine]
        stack.callback(_emptied, engine)
        yield Queue(engine, stack.enter_context(workers(*manage(*command), QUEUED_ENGINE=engine)))


def _emptied(engine: str) -> None:
    tables = {
        "tasks": ["django_tasks_database_dbtaskresult"],
        "procrastinate": ["procrastinate_events", "procrastinate_jobs", "procrastinate_workers"],
    }
    with connection.cursor() as cursor:
        for table in tables.get(engine, []):
            cursor.execute(f"DELETE FROM {table}")


@contextmanager
def _celery(broker: str) -> Iterator[Queue]:
    from tests.queued.celery import application

    name = f"queued{uuid.uuid4().hex[:12]}"
    app = application(URLS[broker], name)
    app.set_current()
    command = (sys.executable, "-m", "celery", "-A", "tests.queued.celery", "worker", "--concurrency", "2")
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "INFO", "-n", f"{name}-%n@%h")
    given = {"QUEUED_ENGINE": "celery", "QUEUED_BROKER": URLS[broker], "QUEUED_QUEUE": name}
    try:
        with workers(*command, *quiet, **given) as begin:
            yield Queue("celery", begin, app)
    finally:
        if broker == "redis":
            import redis

            with redis.Redis.from_url(URLS[broker]) as client:
                if keys := list(client.scan_iter(f"{name}:*")):
                    client.delete(*keys)
        else:
            with app.connection_for_write() as opened:
                opened.default_channel.queue_delete(name)
                opened.default_channel.exchange_delete(name)
        app.close()
