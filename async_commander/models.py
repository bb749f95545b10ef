"""What is kept of every run: the run itself, its ledger of items, its log, its figures and who owns it."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

import async_commander as ac  # the front door, which loads nothing by itself
from async_commander.results import ItemState, RunStatistics, RunStatus

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

FORMAT_VERSION = 1
"""Of the ledger's rows: a release that finds a newer one refuses to resume it."""

LABEL_LENGTH = 200

RUN_STATUSES = [(status.value, status.value) for status in RunStatus]
NOT_ENDED = [RunStatus.QUEUED.value, RunStatus.RUNNING.value, RunStatus.SKIPPED.value]
ITEM_STATES = [(state.value, state.value) for state in ItemState]


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, and what they come to together."""

    def statistics(self) -> RunStatistics:
        """How often these runs have succeeded, and how long they took. Two queries."""
        ended = self.filter(dry_run=False, testing=False).exclude(status__in=NOT_ENDED)
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


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


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
    status = models.CharField(max_length=12, choices=RUN_STATUSES, default=RunStatus.QUEUED.value)
    dry_run = models.BooleanField(default=False)
    testing = models.BooleanField(default=False)
    trigger = models.CharField(max_length=20, default="call", help_text="terminal, call, view, task …")
    user = models.CharField(max_length=150, blank=True, default="")
    host = models.CharField(max_length=255, blank=True, default="")
    pid = models.PositiveIntegerField(null=True, blank=True)
    started = models.DateTimeField(default=timezone.now)
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
    value = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    output = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    format_version = models.PositiveSmallIntegerField(default=FORMAT_VERSION)
    changes = models.BigIntegerField(
        default=0, help_text="Of this record by its owner, under the newest epoch: tells what a COMMIT in doubt came to"
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        get_latest_by = "id"
        indexes = [
            models.Index(fields=["identity", "status", "id"], name="ac_run_identity"),
            models.Index(fields=["command", "id"], name="ac_run_command"),
            models.Index(fields=["status", "id"], name="ac_run_status"),
            models.Index(fields=["started"], name="ac_run_started"),
        ]

    def __str__(self) -> str:
        return f"{self.command} #{self.pk} ({self.status})"

    @property
    def duration(self) -> timedelta | None:
        """From start to end, until now while it runs, or to its last sign of life; None where it gave none."""
        end = self.finished or (timezone.now() if self.status == RunStatus.RUNNING.value else self.heartbeat)
        return end - self.started if end and end > self.started else None

    @property
    def rate(self) -> float | None:
        """Items with an outcome per second over the whole duration."""
        duration = self.duration
        return self.settled / duration.total_seconds() if duration and duration.total_seconds() else None

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


class RunItem(models.Model):
    """The ledger: one row per item of a run, written with the item's outcome.

    The column `run` has neither index nor constraint of its own: both would cost more than the rest of the row.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="items", db_index=False, db_constraint=False)
    key = models.UUIDField(help_text="Of the SHA-256 digest of the item's key")
    label = models.CharField(max_length=LABEL_LENGTH, blank=True, default="")
    item = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    state = models.CharField(max_length=8, choices=ITEM_STATES)
    attempts = models.PositiveIntegerField(default=0)
    crashes = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=20, blank=True, default="")
    error_kind = models.CharField(max_length=200, blank=True, default="")
    error = models.TextField(blank=True, default="")
    started = models.DateTimeField(null=True, blank=True)
    wait_ms = models.PositiveIntegerField(null=True, blank=True)
    download_ms = models.PositiveIntegerField(null=True, blank=True)
    parse_ms = models.PositiveIntegerField(null=True, blank=True)
    save_ms = models.PositiveIntegerField(null=True, blank=True)
    worker = models.PositiveIntegerField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)
    by_follow = models.BooleanField(
        default=False, help_text="Brought up by another item, and not yielded by the source until now"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="ac_item_once_per_run")]
        indexes = [StateIndex(fields=["run", "state", "next_at"], name="ac_item_state")]

    def __str__(self) -> str:
        return f"{self.label or self.key} ({self.state})"


class RunClaim(models.Model):
    """Keys handed out in one go, written before any of their items begins."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="claims", db_constraint=False)
    epoch = models.BigIntegerField()
    keys = models.JSONField(default=list)
    claimed_at = models.DateTimeField(default=timezone.now)


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

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="logs")
    at = models.DateTimeField()
    level = models.PositiveSmallIntegerField()
    logger = models.CharField(max_length=200)
    message = models.TextField()
    item_key = models.UUIDField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["run", "level"], name="ac_log_level")]

    def __str__(self) -> str:
        return self.message.partition("\n")[0][:LABEL_LENGTH]


class ObjectLog(models.Model):
    """Which run created, updated, deleted or linked which object."""

    ACTIONS = [(action, action) for action in ("created", "updated", "deleted", "linked")]

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="object_logs")
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, related_name="+")
    object_id = models.CharField(max_length=64)
    action = models.CharField(max_length=8, choices=ACTIONS)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
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
