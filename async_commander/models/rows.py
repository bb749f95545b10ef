"""What is kept of every run: the run itself, its ledger of items, its log, its figures and who owns it."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.manager import ManagerDescriptor
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

import async_commander as ac  # the front door, which loads nothing by itself
from async_commander.database.touched import ID_LENGTH
from async_commander.exceptions import InvalidCommand
from async_commander.results import AT_WORK, Asked, ItemState, ObjectAction, RunStatistics, RunStatus, per_second

from .objects import objects_of

if TYPE_CHECKING:
    from typing import Self

    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

M = TypeVar("M", bound=models.Model)

FORMAT_VERSION = 1
"""Of the ledger's rows: a release that finds a newer one refuses to resume it."""
LABEL_LENGTH = 200
RUN_STATUSES = [(status.value, _(status.value)) for status in RunStatus]
NOT_ENDED = [RunStatus.QUEUED.value, *AT_WORK, RunStatus.SKIPPED.value]
ITEM_STATES = [(state.value, _(state.value)) for state in ItemState]


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, and what they come to together."""

    def whole(self) -> RunQuerySet:
        """Those that are no shards of another one."""
        return self.filter(shard=None)

    def numbered(self, number: int | str) -> Run:
        """The run of this number, which may be a text of digits. InvalidCommand where there is none, or it is none."""
        run = self.filter(pk=number).first() if _is_whole(number) else None
        if run is None:
            named = number if _is_whole(number) else f"{number!r}: a run has a whole number"
            raise InvalidCommand(f"There is no run {named}. `manage.py aruns` lists the runs.")
        return run

    def statistics(self) -> RunStatistics:
        """How often these runs have succeeded, and how long they took. Two queries."""
        ended = self.whole().filter(dry_run=False, testing=False).exclude(status__in=NOT_ENDED)
        took = models.ExpressionWrapper(models.F("finished") - models.F("started"), models.DurationField())
        figures = ended.aggregate(
            count=models.Count("pk"),
            timed=models.Count("finished"),
            succeeded=models.Count("pk", filter=models.Q(status=RunStatus.SUCCEEDED.value)),
            average=models.Avg(took),
        )
        place = math.ceil(0.95 * figures["timed"]) - 1  # the nearest rank
        by_duration = ended.filter(finished__isnull=False).annotate(took=took).order_by("took")
        p95 = by_duration.values_list("took", flat=True)[place] if place >= 0 else None
        return RunStatistics(
            count=figures["count"],
            succeeded=figures["succeeded"],
            average_seconds=_seconds(figures["average"]),
            p95_seconds=_seconds(p95),
        )

    async def astatistics(self) -> RunStatistics:
        """See `statistics`."""
        return await sync_to_async(self.statistics)()


def _is_whole(number: object) -> bool:
    is_text = isinstance(number, str) and number.isascii() and number.isdigit()
    return is_text or (isinstance(number, int) and not isinstance(number, bool))


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


_RunManager = models.Manager.from_queryset(RunQuerySet)


class RunManager(_RunManager["Run"]):
    """`Run.objects` are the runs; `run.objects(Model)`, of one run, are the objects that it has touched."""

    if TYPE_CHECKING:

        def __get__(self, instance: Any, cls: Any = None) -> Self: ...
        def __call__(self, model: type[M], *, action: str | None = None) -> models.QuerySet[M]: ...

    def contribute_to_class(self, cls: type[models.Model], name: str) -> None:
        """As Django's; of an instance, where Django refuses it, it is a call."""
        super().contribute_to_class(cls, name)
        setattr(cls, name, _Objects(self))


class _Objects(ManagerDescriptor):
    def __get__(self, instance: Any, cls: Any = None) -> Any:
        return super().__get__(None, cls) if instance is None else partial(objects_of, instance)


class Run(models.Model):
    """One execution of one command. Written at the start, alive by `heartbeat`, truthful at the end."""

    command = models.CharField(max_length=200)
    parameters = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    identity = models.CharField(max_length=64, help_text="SHA-256 of the command's name and its parameters")
    once_key = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        unique=True,
        help_text="The identity of a run that is to happen once: while it is at work, and for ever where it succeeded",
    )
    options = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    limits = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    status = models.CharField(
        max_length=12, choices=RUN_STATUSES, default=RunStatus.QUEUED.value, verbose_name=_("status")
    )
    dry_run = models.BooleanField(default=False)
    testing = models.BooleanField(default=False)
    trigger = models.CharField(max_length=20, default="call", help_text="terminal, call, view, task …")
    user = models.CharField(max_length=150, blank=True, default="")
    host = models.CharField(max_length=255, blank=True, default="")
    pid = models.PositiveIntegerField(null=True, blank=True)
    started = models.DateTimeField(default=timezone.now, verbose_name=_("started"))
    finished = models.DateTimeField(null=True, blank=True)
    heartbeat = models.DateTimeField(null=True, blank=True)
    expires = models.DateTimeField(null=True, blank=True)
    total = models.BigIntegerField(null=True, blank=True)
    taken = models.BigIntegerField(default=0)
    done = models.BigIntegerField(default=0)
    skipped = models.BigIntegerField(default=0)
    dead = models.BigIntegerField(default=0)
    retry = models.BigIntegerField(default=0)
    claimed = models.BigIntegerField(default=0)
    cursor = models.TextField(
        blank=True, default="", help_text="Place and cursor up to which all items of the source are settled"
    )
    value = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    would = models.JSONField(
        default=dict,
        blank=True,
        help_text="What was not written, in rows by model and verb: by a dry run nothing, without --delete no deletion",
    )
    output = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    orders = models.JSONField(
        default=dict,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="What was asked of it from outside, by name: what it is to be, who asked, and when",
    )
    question = models.TextField(blank=True, default="", help_text="What it waits to be answered")
    pausable = models.BooleanField(
        default=False, help_text="It has something to begin anew (items, steps, ticks), and can wait before that"
    )
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    engine = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="Of a run that came from a queue: which one sends it to a worker",
    )
    sent = models.DateTimeField(
        null=True, blank=True, help_text="Of a run that came from a queue: when it was last sent to a worker"
    )
    asked = models.JSONField(
        default=dict, blank=True, help_text="Of a run that came from a queue: what its worker has to know besides"
    )
    shard = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Which shard of its parent it is, from 0; its items are in the parent's ledger"
    )
    format_version = models.PositiveSmallIntegerField(default=FORMAT_VERSION)
    source_ended = models.BooleanField(
        default=False, help_text="The source was read to its end, and each item that it gave has had an outcome"
    )
    pruned = models.DateTimeField(
        null=True, blank=True, help_text="Since when items that are done, or skipped, have no rows any more"
    )
    changes = models.BigIntegerField(
        default=0, help_text="Of this record by its owner, under the newest epoch: tells what a COMMIT in doubt came to"
    )

    objects = RunManager()
    """Of the class all runs; of one run, `run.objects(Model)` are the objects that it has touched."""

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-id"]
        get_latest_by = "id"
        indexes = [
            models.Index(fields=["identity", "status", "id"], name="ac_run_identity"),
            models.Index(fields=["command", "id"], name="ac_run_command"),
            models.Index(fields=["status", "id"], name="ac_run_status"),
            models.Index(fields=["started"], name="ac_run_started"),
            models.Index(fields=["user", "id"], name="ac_run_user"),
        ]
        permissions = [
            ("run_run", "Can have commands run"),
            ("cancel_run", "Can cancel runs"),
            ("pause_run", "Can pause runs"),
            ("continue_run", "Can let paused runs go on"),
            ("limit_run", "Can change the limits of runs at work"),
            ("answer_run", "Can answer what runs ask"),
            ("requeue_run", "Can have failed items of runs tried again"),
            ("export_run", "Can export the errors of runs"),
        ]

    def __str__(self) -> str:
        return f"{self.command} #{self.pk} ({self.status})"

    @property
    def duration(self) -> timedelta | None:
        """From start to end, until now while it runs, or to its last sign of life; None where it gave none."""
        end = self.finished or (timezone.now() if self.status in AT_WORK else self.heartbeat)
        return end - self.started if end and end > self.started else None

    @property
    def rate(self) -> float | None:
        """Items with an outcome per second over the whole duration."""
        duration = self.duration
        return per_second(self.settled, duration.total_seconds() if duration else None)

    @property
    def command_class(self) -> type[ac.AsyncCommand]:
        """The class of its command, imported now. CommandNotFound or InvalidCommand where it is gone, or broken."""
        return ac.get_command(self.command)

    def again(self, **changes: Any) -> ac.RunResult:
        """Run the same command again, from synchronous code, with the same arguments and options; `changes` go first.

        It is a new run, and a trial where this one was. Secrets, which no run keeps, are given once more:
        `run.again(api_token="…")`. Raises and returns what `ac.run()` does.
        """
        return ac.run(self.command_class, again=self.pk, **{"database": self._state.db, **changes})

    async def aagain(self, **changes: Any) -> ac.RunResult:
        """The same on the running event loop, as `ac.arun()`."""
        return await ac.arun(self.command_class, again=self.pk, **{"database": self._state.db, **changes})

    def retry_failed(self, **changes: Any) -> ac.RunResult:
        """Open this run again for its dead items, from synchronous code; `changes` are what `ac.run()` takes.

        `run.retry_failed(only_kind="ReadTimeout", threads=5)`. Secrets, which no run keeps, are given once more. Raises
        and returns what `ac.run()` does: where no item is dead the result is *skipped*, with the reason.
        """
        return ac.run(self.command_class, retry_failed=self.pk, **{"database": self._state.db, **changes})

    async def aretry_failed(self, **changes: Any) -> ac.RunResult:
        """The same on the running event loop, as `ac.arun()`."""
        return await ac.arun(self.command_class, retry_failed=self.pk, **{"database": self._state.db, **changes})

    def cancel(self, *, user: str = "") -> bool:
        """Ask for its end, in order, as a first Ctrl-C does; `user` is who asks, for its log.

        True where a process is at work on it, which hears of it within seconds and ends it as *interrupted*. False
        where it had ended, or is marked now as having no owner: the row is read again. AsyncCommanderError for the run
        of a plain Django command.
        """
        asked = ac.cancel_run(self.pk, user=user, using=self._state.db)
        self.refresh_from_db()
        return asked == "asked"

    async def acancel(self, *, user: str = "") -> bool:
        """The same on a running event loop."""
        return await sync_to_async(self.cancel)(user=user)

    @property
    def paused(self) -> Asked | None:
        """Who asked for the pause that it is in, and since when; None where it is in none."""
        pause = Asked.of(self.orders.get("pause"))
        return pause if pause is not None and pause.to and self.status in AT_WORK else None

    @property
    def settled(self) -> int:
        """Items with an outcome."""
        return self.done + self.skipped + self.dead

    @property
    def accounts(self) -> bool:
        """Whether every item that was taken is accounted for."""
        return self.taken == self.done + self.skipped + self.dead + self.retry + self.claimed


class StateIndex(models.Index):
    """Of the items of a run by their state. On PostgreSQL those that are done are left out.

    It is smaller so, and never taken for a look-up by key: in a run that the statistics do not know yet, the planner
    would read all of its rows. Elsewhere a query that says `state = ?` would not find a partial one.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Any:
        """See Django's `Index`."""
        on_postgres = schema_editor.connection.vendor == "postgresql"
        condition = ~models.Q(state=ItemState.DONE.value) if on_postgres else None
        index = models.Index(fields=self.fields, name=self.name, condition=condition)
        return index.create_sql(model, schema_editor, using, **kwargs)


class LineIndex(models.Index):
    """Of the items that wait in a line. All others are left out where the database has partial indexes."""

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Any:
        """See Django's `Index`."""
        partial = schema_editor.connection.features.supports_partial_indexes
        condition = models.Q(line__isnull=False) if partial else None
        index = models.Index(fields=self.fields, name=self.name, condition=condition)
        return index.create_sql(model, schema_editor, using, **kwargs)


class RunItem(models.Model):
    """The ledger: one row per item of a run, written with the item's outcome.

    The column `run` has neither index nor constraint of its own: both would cost more than the rest of the row.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="items", db_index=False, db_constraint=False)
    key = models.UUIDField(help_text="Of the SHA-256 digest of the item's key")
    label = models.CharField(max_length=LABEL_LENGTH, blank=True, default="", verbose_name=_("label"))
    item = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    state = models.CharField(max_length=8, choices=ITEM_STATES, verbose_name=_("state"))
    attempts = models.PositiveIntegerField(default=0)
    crashes = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=20, blank=True, default="", verbose_name=_("reason"))
    error_kind = models.CharField(max_length=200, blank=True, default="", verbose_name=_("error kind"))
    error = models.TextField(blank=True, default="")
    started = models.DateTimeField(null=True, blank=True)
    wait_ms = models.PositiveIntegerField(null=True, blank=True)
    download_ms = models.PositiveIntegerField(null=True, blank=True)
    parse_ms = models.PositiveIntegerField(null=True, blank=True)
    save_ms = models.PositiveIntegerField(null=True, blank=True)
    worker = models.PositiveIntegerField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)
    shard = models.PositiveSmallIntegerField(default=0, help_text="Which shard of the run has it")
    by_follow = models.BooleanField(
        default=False, help_text="Brought up by another item, and not yielded by the source until now"
    )

    line = models.UUIDField(
        null=True,
        blank=True,
        help_text="Of the digest of its order_key: how the next one of a key is found, and what waits for the source",
    )
    place = models.BigIntegerField(null=True, blank=True, help_text="In its line, while it waits until that is called")

    class Meta:
        verbose_name = _("run item")
        verbose_name_plural = _("run items")
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="ac_item_once_per_run")]
        indexes = [
            StateIndex(fields=["run", "state", "next_at"], name="ac_item_state"),
            LineIndex(fields=["run", "line", "place"], name="ac_item_line"),
        ]

    def __str__(self) -> str:
        return f"{self.label or self.key} ({self.state})"


class RunClaim(models.Model):
    """Keys handed out in one go, written before any of their items begins."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="claims", db_constraint=False)
    epoch = models.BigIntegerField()
    keys = models.JSONField(default=list)
    claimed_at = models.DateTimeField(default=timezone.now)


class HostShare(models.Model):
    """How the shards of a run share what it may begin at one host, while it is at work.

    It is a row of its own: it is locked once a second by each shard that asks the host for something.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="host_shares", db_constraint=False)
    key = models.UUIDField(help_text="Of the SHA-256 digest of what is paced")
    leases = models.JSONField(default=dict, help_text="By shard: turns and rate, those it would have, and until when")
    paused_until = models.FloatField(default=0.0, help_text="In seconds since 1970, by the database's clock")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="ac_host_share_once")]

    def __str__(self) -> str:
        return f"{self.key}: {self.leases}"


class RunBucket(models.Model):
    """What one stage did in one slice of time, rolled up as it happened."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="buckets")
    at = models.DateTimeField(help_text="Start of the slice")
    seconds = models.PositiveIntegerField(default=10)
    stage = models.CharField(max_length=20)
    count = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    total_ms = models.BigIntegerField(default=0)
    histogram = models.JSONField(default=list, help_text="Counts of latencies below 1, 2, 4, 8 … milliseconds")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "at", "stage"], name="ac_bucket_once")]

    def __str__(self) -> str:
        return f"{self.stage} from {self.at}: {self.count}"


class RunSlowest(models.Model):
    """The slowest items of one run, kept as they end: no page looks for them in the ledger, and none loses them when
    that is pruned.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="slowest", primary_key=True)
    items = models.JSONField(default=list, help_text="Slowest first, with the time that each stage of them took")


class RunErrorKind(models.Model):
    """Errors of one kind in one run, counted, with one example."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="error_kinds")
    kind = models.CharField(max_length=200)
    count = models.BigIntegerField(default=0)
    example = models.TextField(blank=True, default="")
    item = models.CharField(max_length=LABEL_LENGTH, blank=True, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "kind"], name="ac_error_kind_once")]

    def __str__(self) -> str:
        return f"{self.kind} × {self.count}"


class RunLog(models.Model):
    """One log line of a run."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="logs", db_index=False)
    at = models.DateTimeField(verbose_name=_("time"))
    level = models.PositiveSmallIntegerField()
    logger = models.CharField(max_length=200, verbose_name=_("logger"))
    message = models.TextField()
    item_key = models.UUIDField(null=True, blank=True, verbose_name=_("item key"))
    failure = models.JSONField(
        null=True,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="Of a line about an item that failed: what the message says, for programs",
    )

    class Meta:
        verbose_name = _("run log")
        verbose_name_plural = _("run logs")
        indexes = [
            models.Index(fields=["run", "level"], name="ac_log_level"),
            models.Index(fields=["run", "id"], name="ac_log_order"),
            models.Index(fields=["item_key"], name="ac_log_item"),
        ]

    def __str__(self) -> str:
        return self.message.partition("\n")[0][:LABEL_LENGTH]


class ObjectLog(models.Model):
    """Which run created, updated, deleted or linked which object: one row for each, however often it did so.

    What a run has created is not updated by it as well. Neither of the keys has a constraint, for the reason that the
    ledger's has none. Of a deleted object the rows stay.
    """

    ACTIONS = [(action.value, _(action.value)) for action in ObjectAction]

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="object_logs", db_index=False, db_constraint=False
    )
    content_type = models.ForeignKey(
        ContentType, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    object_id = models.CharField(max_length=ID_LENGTH, help_text="Its primary key; a composite one as a JSON list")
    action = models.CharField(max_length=8, choices=ACTIONS, verbose_name=_("action"))
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("object log")
        verbose_name_plural = _("object logs")
        constraints = [
            models.UniqueConstraint(fields=["run", "content_type", "object_id", "action"], name="ac_object_log_once")
        ]
        indexes = [models.Index(fields=["content_type", "object_id"], name="ac_object_log_object")]

    def __str__(self) -> str:
        return f"{self.object_id} {self.action}"


class Lease(models.Model):
    """Who owns a name. The row changes at take-over and release only, so that a fence may share-lock it."""

    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=255, blank=True, default="")
    boot_id = models.CharField(max_length=64, blank=True, default="")
    pid = models.PositiveIntegerField(null=True, blank=True)
    process_start = models.BigIntegerField(null=True, blank=True, help_text="In the kernel's ticks since boot")
    epoch = models.BigIntegerField(default=0)
    run = models.ForeignKey(
        Run,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="The run that has a command's name, for single_instance",
    )

    def __str__(self) -> str:
        return f"{self.name} epoch {self.epoch}"
