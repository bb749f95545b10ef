"""What is asked of a run beside the command's own arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from django.core.management.base import BaseCommand
from django.http import HttpRequest

from async_commander.command.options import ALSO_CALLED, ALWAYS_GIVEN, BRINGS_ARGUMENTS, REQUESTS
from async_commander.engine.limits import BOUNDS, Limits
from async_commander.exceptions import InvalidCommand
from async_commander.history.lease import LEASE_SECONDS

GRACE_SECONDS = 10.0
STORED = ("max_items", "force", "delete", "ignore_dependencies", "distribute", "shards")
"""The shared options that a run's row keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The shared options of one run.

    `limits` holds the bounds that were given for this run only; `grace` and `lease_seconds` are seconds.
    """

    limits: Limits = field(default_factory=Limits)
    resume: bool = False
    resume_run: int | None = None
    retry_failed: int | None = None
    only_kind: str | Sequence[str] | None = None
    again: int | None = None
    queued: int | None = None
    """The run that waits in a queue and is begun now."""
    max_items: int | None = None
    distribute: str | None = None
    shards: int | None = None
    grace: float = GRACE_SECONDS
    yes: bool = False
    ask: str | None = None
    """What a question comes to where no person is at a terminal: `wait` for an answer from outside, or `fail`."""
    force: bool = False
    wait: bool = False
    detach: bool = False
    test: bool = False
    dry_run: bool = False
    delete: bool = False
    refresh_cache: bool = False
    run_dependencies: bool = False
    ignore_dependencies: bool = False
    verbosity: int = 1
    database: str | None = None
    trigger: str = "call"
    user: str = ""
    request: HttpRequest | None = field(default=None, repr=False)
    """Of the view that begins the run: its user asks for it."""
    stdout: TextIO | None = None
    stderr: TextIO | None = None
    json: bool = False
    """The command's own output goes to stderr: stdout is for one JSON document."""
    no_color: bool = False
    force_color: bool = False
    django: Mapping[str, Any] = field(default_factory=dict)
    """Django's own options as they were given."""
    lease_seconds: float = LEASE_SECONDS

    def __post_init__(self) -> None:
        """Raises InvalidCommand, with what was found and what is allowed."""
        named = {"resume=True": self.resume or None, **{name: getattr(self, name) for name in BRINGS_ARGUMENTS}}
        going_on = [name for name, value in named.items() if value is not None]
        if len(going_on) > 1:
            raise InvalidCommand(
                f"{' and '.join(going_on)} contradict each other: `resume` means the newest unfinished run, "
                "`resume_run` the one with that number, `retry_failed` the dead items of that one, `again` a new run "
                "with the arguments of that one."
            )
        if self.dry_run and (self.resume or self.resume_run is not None or self.retry_failed is not None):
            raise InvalidCommand(
                "A dry run keeps no ledger, so that it can neither go on with a run nor be gone on with: leave "
                "dry_run out, or what names the run."
            )
        if self.run_dependencies and self.ignore_dependencies:
            raise InvalidCommand("run_dependencies and ignore_dependencies contradict each other: give one of them.")
        for name, option in REQUESTS.items():
            if problem := option.problem(getattr(self, name)):
                raise InvalidCommand(f"{problem}.")
        if self.only_kind and self.retry_failed is None:
            raise InvalidCommand("only_kind says which dead items are tried again: give it with retry_failed.")
        if self.max_items is not None and self.retry_failed is not None:
            raise InvalidCommand("max_items bounds new items, and retry_failed takes those of a run: leave it out.")

    @property
    def is_cut(self) -> bool:
        """Whether it asks for shards."""
        return self.distribute is not None or self.shards is not None

    def stored_options(self) -> dict[str, Any]:
        """What is kept in the run row, so that a resume does the same."""
        return {name: value for name in STORED if (value := getattr(self, name))}

    def options_of_django(self) -> dict[str, Any]:
        """What `handle(self, *args, **options)` finds beside the command's own: Django's options, as this version has
        them and `call_command` fills them in, and the shared ones of that kind.
        """
        absent = vars(BaseCommand().create_parser("manage.py", "arun").parse_args([])) | {"skip_checks": True}
        colours = {"no_color": self.no_color, "force_color": self.force_color}
        shared = {name: getattr(self, name) for name in ALWAYS_GIVEN}
        return {**absent, "verbosity": self.verbosity, **colours, **self.django, **shared}


def by_their_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A call's values by the names that their options have: `testing=True` is `test=True`."""
    found = dict(values)
    for name, known in ALSO_CALLED.items():
        if name in found:
            value = found.pop(name)
            if found.setdefault(known, value) != value:
                raise InvalidCommand(f"{name}={value!r:.80} and {known}=… contradict each other: they are one option.")
    return found


def split_call(values: dict[str, Any], declared: Collection[str] = ()) -> tuple[RunRequest, dict[str, Any]]:
    """Tell a call's shared options from the command's own arguments: `threads=50, resume=True, domain="x"`.

    `declared` are the names of the command's own, which go first: `user` may be one of them. Raises InvalidCommand for
    a bound that is out of range.
    """
    bounds = {name: values[name] for name in BOUNDS if name in values}
    shared = {name: values[name] for name in REQUESTS.keys() - set(declared) if name in values}
    own = {name: value for name, value in values.items() if name not in bounds and name not in shared}
    try:
        limits = Limits(**bounds)
    except (TypeError, ValueError) as error:
        raise InvalidCommand(str(error)) from error
    return replace(RunRequest(), limits=limits, **shared), own
