"""The Celery application of the worker processes, and of the test that sends to them."""

from __future__ import annotations

import os

from celery import Celery


def application(broker: str, queue: str) -> Celery:
    """One whose tasks go to `queue` and to no other; what Redis keeps of it begins with the queue's name."""
    app = Celery("queued", broker=broker)
    app.conf.update(
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        broker_transport_options={"global_keyprefix": f"{queue}:"} if broker.startswith("redis") else {},
    )
    return app


if "QUEUED_BROKER" in os.environ:
    app = application(os.environ["QUEUED_BROKER"], os.environ["QUEUED_QUEUE"])
