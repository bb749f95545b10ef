"""Django Tasks: `django.tasks` of Django 6.0, and `django-tasks` before it, with any backend."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.db import router
from django.utils import timezone

from async_commander.models import Run
from async_commander.queues.engine import Engine

if TYPE_CHECKING:
    from django_tasks import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME, task, task_backends
else:
    try:
        from django.tasks import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME, task, task_backends
    except ImportError:
        from django_tasks import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME, task, task_backends


def _queue(backend: str) -> str:
    """A queue that the backend has: that of most tasks, if it may be."""
    known = task_backends[backend].queues
    return DEFAULT_TASK_QUEUE_NAME if not known or DEFAULT_TASK_QUEUE_NAME in known else min(known)


@task(queue_name=_queue(DEFAULT_TASK_BACKEND_ALIAS))
def run_command_task(run_id: int, database: str | None = None) -> dict[str, Any]:
    """Carry a queued run. The task succeeds whatever becomes of the run, whose row has the rest."""
    from async_commander.queues.carrying import carry

    result = carry(run_id, database=database)
    return {"run": run_id, "status": None if result is None else str(result.status)}


class TasksEngine(Engine):
    """Sends by a backend of TASKS, to one of its queues. Where that is a database, and the one that runs are kept in,
    the message belongs to the transaction.
    """

    backend: ClassVar[str] = DEFAULT_TASK_BACKEND_ALIAS
    queue_name: ClassVar[str | None] = None
    priority: ClassVar[int | None] = None

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """See Engine."""
        later = timezone.now() + timedelta(seconds=delay) if delay and self.can_delay() else None
        queue = self.queue_name or _queue(self.backend)
        message = run_command_task.using(
            backend=self.backend, queue_name=queue, priority=self.priority, run_after=later
        )
        where = {} if database == router.db_for_write(Run) else {"database": database}
        message.enqueue(run_id, **where)

    def sends_within(self, database: str) -> bool:
        """See Engine."""
        backend = type(task_backends[self.backend])
        if backend.__module__.partition(".")[0] != "django_tasks_db" or not apps.is_installed("django_tasks_db"):
            return False
        from django_tasks_db.models import DBTaskResult

        return router.db_for_write(DBTaskResult) == database

    def can_delay(self) -> bool:
        """See Engine."""
        return bool(task_backends[self.backend].supports_defer)
