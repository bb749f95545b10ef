"""Who brings a queued run to a worker: a queue that is there already, or the table of runs itself."""

from __future__ import annotations

from typing import ClassVar

from django.utils.module_loading import import_string

from async_commander.conf import NAME, get_settings
from async_commander.exceptions import InvalidCommand

BUILT_IN = {
    "worker": "async_commander.queues.engine.WorkerEngine",
    "tasks": "async_commander.contrib.tasks.TasksEngine",
    "celery": "async_commander.contrib.celery.CeleryEngine",
    "procrastinate": "async_commander.contrib.procrastinate.ProcrastinateEngine",
}
"""Short names, as ASYNC_COMMANDER['ENGINE'] has them."""


class Engine:
    """Sends the number of a queued run to a worker, which hands it to `carry()`.

    A message may come late, several times, or never: who is sent one looks at the run's row. So `send()` needs to know
    nothing of a run but its number. Subclasses say how, with a queue or an exchange of their own if need be, and are
    named by their dotted path: `ASYNC_COMMANDER = {"ENGINE": "shop.queues.Heavy"}`.
    """

    has_messages: ClassVar[bool] = True
    """False where workers find queued runs by themselves."""

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """Tell a worker of this run, whose row is in the database of that alias, after `delay` seconds at the earliest.

        Synchronous, on whichever thread calls it. Whatever it raises means that the message was not sent.
        """
        raise NotImplementedError

    def sends_within(self, database: str) -> bool:
        """Whether a message belongs to the transaction that is open on this database. Else it is sent after COMMIT."""
        del database
        return False

    def can_delay(self) -> bool:
        """Whether the queue keeps a message until its `delay` is over.

        A worker that begins a run sends such a one then, which comes when the lease of a worker that died has run out.
        """
        return False

    @property
    def name(self) -> str:
        """What a run's row keeps of it: the short name of one that comes with the package, else the dotted path."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return next((short for short, known in BUILT_IN.items() if known == path), path)


class WorkerEngine(Engine):
    """No broker: the rows of queued runs are the queue, and `manage.py aworker` takes them, the oldest first."""

    has_messages = False

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        """The row says it all."""


def engine_of(given: str | Engine | type[Engine] | None = None) -> Engine:
    """The engine of this name, short or dotted; None: the one of ASYNC_COMMANDER['ENGINE'].

    InvalidCommand where there is none, where what it needs is not installed, or where it is no Engine.
    """
    if isinstance(given, Engine):
        return given
    told = f"{NAME}['ENGINE'] is {get_settings().engine!r}" if given is None else f"engine={given!r:.80}"
    found: object = given
    if not isinstance(given, type):
        name = get_settings().engine if given is None else given
        try:
            found = import_string(BUILT_IN.get(name, name))
        except ImportError as error:
            short = ", ".join(BUILT_IN)
            raise InvalidCommand(f"{told}: {error}. Allowed: {short}, or the dotted path of an Engine.") from error
        except (TypeError, AttributeError):
            found = None
    if not (isinstance(found, type) and issubclass(found, Engine)) or found is Engine:
        raise InvalidCommand(f"{told}; allowed: {', '.join(BUILT_IN)}, or the dotted path of a subclass of Engine.")
    engine: Engine = found()
    return engine
