"""What is asked of a run beside the command's own arguments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TextIO

from django.core.management.base import BaseCommand

from async_commander.command.values import UNSTORABLE, is_seconds, is_whole
from async_commander.engine.limits import Limits
from async_commander.exceptions import InvalidCommand
from async_commander.history.lease import LEASE_SECONDS

GRACE_SECONDS = 10.0
TRIGGER_LENGTH = 20
USER_LENGTH = 150
"""Characters that the run row has room for."""

LIMIT_NAMES = (
    "threads",
    "processes",
    "db_lanes",
    "batch_size",
    "per_host",
    "per_second",
    "item_timeout",
    "timeout",
    "max_failures",
    "max_body",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The shared options of one run.

    `limits` holds the bounds that were given for this run only; `grace` and `lease_seconds` are seconds.
    """

    limits: Limits = field(default_factory=Limits)
    resume: bool = False
    resume_run: int | None = None
    max_items: int | None = None
    grace: float = GRACE_SECONDS
    yes: bool = False
    force: bool = False
    verbosity: int = 1
    database: str | None = None
    trigger: str = "call"
    user: str = ""
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
        for name, (is_allowed, allowed) in _ALLOWED.items():
            value = getattr(self, name)
            if not is_allowed(value):
                raise InvalidCommand(f"{name}={value!r:.80}: {allowed}.")

    def stored_options(self) -> dict[str, Any]:
        """What is kept in the run row, so that a resume does the same."""
        shared = {"max_items": self.max_items, "force": self.force}
        return {name: value for name, value in shared.items() if value}

    def options_of_django(self) -> dict[str, Any]:
        """What `handle(self, *args, **options)` finds beside the command's own: Django's options, as this version has
        them and `call_command` fills them in, and the shared ones of that kind.
        """
        absent = vars(BaseCommand().create_parser("manage.py", "arun").parse_args([])) | {"skip_checks": True}
        colours = {"no_color": self.no_color, "force_color": self.force_color}
        return {**absent, "verbosity": self.verbosity, **colours, **self.django, "force": self.force, "yes": self.yes}


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and not UNSTORABLE.search(value)


def _is_writable(value: object) -> bool:
    return value is None or callable(getattr(value, "write", None))


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_items": (lambda value: value is None or is_whole(value), "at least 1 item. Leave it out to take them all"),
    "resume_run": (lambda value: value is None or is_whole(value), "the number of a run is needed"),
    "grace": (is_seconds, "at least 0 seconds are needed"),
    "lease_seconds": (lambda value: is_seconds(value) and value > 0, "more than 0 seconds are needed"),
    "verbosity": (lambda value: is_whole(value, 0) and value <= 3, "0, 1, 2 or 3 is needed"),
    "database": (lambda value: value is None or isinstance(value, str), "an alias of DATABASES is needed"),
    "trigger": (
        lambda value: _is_text(value, TRIGGER_LENGTH),
        f"a text of at most {TRIGGER_LENGTH} characters is needed",
    ),
    "user": (lambda value: _is_text(value, USER_LENGTH), f"a text of at most {USER_LENGTH} characters is needed"),
    "stdout": (_is_writable, "a file to write text to is needed"),
    "stderr": (_is_writable, "a file to write text to is needed"),
    **dict.fromkeys(("resume", "yes", "force", "json"), (_is_bool, "True or False is needed")),
    **dict.fromkeys(("no_color", "force_color"), (_is_bool, "True or False is needed")),
}

SHARED_NAMES = frozenset(one.name for one in fields(RunRequest)) - {"limits", "django"}


def split_call(values: dict[str, Any], declared: Collection[str] = ()) -> tuple[RunRequest, dict[str, Any]]:
    """Tell a call's shared options from the command's own arguments: `threads=50, resume=True, domain="x"`.

    `declared` are the names of the command's own, which go first: `user` may be one of them. Raises InvalidCommand for
    a bound that is out of range.
    """
    bounds = {name: values[name] for name in LIMIT_NAMES if name in values}
    shared = {name: values[name] for name in SHARED_NAMES - set(declared) if name in values}
    own = {name: value for name, value in values.items() if name not in bounds and name not in shared}
    try:
        limits = Limits(**bounds)
    except (TypeError, ValueError) as error:
        raise InvalidCommand(str(error)) from error
    return replace(RunRequest(), limits=limits, **shared), own
