"""What is asked of a run beside the command's own arguments."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, TextIO

from async_commander.engine.limits import Limits
from async_commander.exceptions import InvalidCommand
from async_commander.history.lease import LEASE_SECONDS

GRACE_SECONDS = 10.0

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
    lease_seconds: float = LEASE_SECONDS
    options: dict[str, Any] = field(default_factory=dict)
    """Values of the options that the command declared in `add_arguments`, by destination."""

    def __post_init__(self) -> None:
        if self.max_items is not None and self.max_items < 1:
            raise InvalidCommand(f"max_items={self.max_items}: at least 1 item. Leave it out to take them all.")
        if self.grace < 0:
            raise InvalidCommand(f"grace={self.grace}: at least 0 seconds.")

    def stored_options(self) -> dict[str, Any]:
        """What is kept in the run row, so that a resume does the same."""
        shared = {"max_items": self.max_items, "force": self.force}
        return {**{name: value for name, value in shared.items() if value}, **self.options}


SHARED_NAMES = frozenset(one.name for one in fields(RunRequest)) - {"limits", "options"}


def split_call(values: dict[str, Any]) -> tuple[RunRequest, dict[str, Any]]:
    """Tell a call's shared options from the command's own arguments: `threads=50, resume=True, domain="x"`.

    Raises InvalidCommand for a bound that is out of range.
    """
    bounds = {name: values[name] for name in LIMIT_NAMES if name in values}
    shared = {name: values[name] for name in SHARED_NAMES if name in values}
    own = {name: value for name, value in values.items() if name not in bounds and name not in shared}
    try:
        limits = Limits(**bounds)
    except (TypeError, ValueError) as error:
        raise InvalidCommand(str(error)) from error
    return replace(RunRequest(), limits=limits, **shared), own
