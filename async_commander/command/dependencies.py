"""What a command depends on, as its author declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

ALLOWED = "a list of ac.DependsOn(…), or of pairs (name, {parameter: value})"


@dataclass(frozen=True, slots=True, init=False)
class DependsOn:
    """A run of another command that must have succeeded before a run of this one begins.

        dependencies = [ac.DependsOn("rosters_load", domain=lambda command: command.domain, within=timedelta(days=1))]

    `command` is a name or a class. The parameters are those of that command, by name or as one dict, and each is a
    value or a function of the command that depends; parameters that are not named do not matter. `within` is how old
    the end of that run may be.

    A run satisfies it that succeeded, whole: no trial, no dry run, none cut by `--max-items`.
    """

    command: str | type[Any]
    parameters: Mapping[str, Any] = field(hash=False)
    within: timedelta | None

    def __init__(
        self,
        command: str | type[Any],
        parameters: Mapping[str, Any] | None = None,
        /,
        *,
        within: timedelta | None = None,
        **named: Any,
    ) -> None:
        if not (isinstance(command, type) or (isinstance(command, str) and command)):
            raise TypeError(f"DependsOn() takes the name or the class of a command, found {command!r:.80}")
        if parameters is not None and not (
            isinstance(parameters, Mapping) and all(isinstance(name, str) for name in parameters)
        ):
            raise TypeError(f"DependsOn() takes parameters as a dict of values by name, found {parameters!r:.80}")
        if within is not None and not (isinstance(within, timedelta) and within > timedelta()):
            raise TypeError(f"within={within!r:.80}: a timedelta above 0 is needed, like timedelta(days=1)")
        object.__setattr__(self, "command", command)
        object.__setattr__(self, "parameters", MappingProxyType({**(parameters or {}), **named}))
        object.__setattr__(self, "within", within)

    def __repr__(self) -> str:
        name = self.command if isinstance(self.command, str) else self.command.__qualname__
        return f"DependsOn({name!r}{''.join(f', {each}=…' for each in self.parameters)})"


def dependencies_in(declared: Any) -> tuple[DependsOn, ...]:
    """The dependencies that a class attribute declares, in its order. TypeError names what is none."""
    if not isinstance(declared, Sequence) or isinstance(declared, str):
        raise TypeError(f"found {declared!r:.80}")
    return tuple(map(_read, declared))


def _read(entry: Any) -> DependsOn:
    if isinstance(entry, DependsOn):
        return entry
    if isinstance(entry, str | type):
        return DependsOn(entry)
    if isinstance(entry, tuple | list) and len(entry) in (1, 2):
        return DependsOn(*entry)
    raise TypeError(f"found {entry!r:.80}")
