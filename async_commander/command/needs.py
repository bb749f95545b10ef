"""What one run needs of the past: the dependencies of its command, evaluated; and whether they go in a circle."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.text.durations import duration_in_words
from async_commander.text.redactor import no_credentials
from async_commander.text.values import redacted_value

from .annotations import label_of
from .base import AsyncCommand
from .declaration import declaration_of
from .dependencies import DependsOn
from .line import line_of
from .registry import get_command, name_of
from .run_identity import RunIdentity


@dataclass(frozen=True, slots=True)
class Need:
    """A run that must have succeeded: of this command, with these parameters, ended within this time."""

    command_class: type[AsyncCommand]
    known_by: RunIdentity = field(repr=False)
    within: timedelta | None = None

    @property
    def command(self) -> str:
        """The name that its runs are recorded under."""
        return self.known_by.command

    @property
    def line(self) -> str:
        """The command line that runs it."""
        return line_of(self.command_class, self.command, self.known_by.parameters)

    def __str__(self) -> str:
        """`rosters_load with domain='bob' within 1 day`."""
        parameters = redacted_value(
            dict(self.known_by.parameters), no_credentials, shown=list(self.known_by.parameters)
        )
        told = ", ".join(f"{name}={value!r:.80}" for name, value in parameters.items())
        age = f" within {duration_in_words(self.within)}" if self.within else ""
        return f"{self.command}{f' with {told}' if told else ''}{age}"


def needs_of(command: AsyncCommand) -> tuple[Need, ...]:
    """What a command's dependencies come to for this instance. InvalidCommand names what cannot be used, and why."""
    return tuple(_evaluated(command, each) for each in declaration_of(type(command)).dependencies)


def check_dependency(cls: type[AsyncCommand], dependency: DependsOn) -> type[AsyncCommand]:
    """The class that a dependency names. InvalidCommand where there is none, or a name or a value does not fit it.

    Values that are functions are looked at when there is a run.
    """
    whose = f"{label_of(cls)}.dependencies: {dependency!r}"
    target = dependency.command
    if isinstance(target, str):
        try:
            target = get_command(target)
        except AsyncCommanderError as error:
            raise InvalidCommand(f"{whose}: {error}") from error
    if not issubclass(target, AsyncCommand):
        raise InvalidCommand(f"{whose}: {label_of(target)} is no command")
    known = declaration_of(target).arguments
    parameters = [name for name, argument in known.items() if argument.in_identity]
    for name, value in dependency.parameters.items():
        if name not in parameters:
            close = get_close_matches(name, parameters, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(parameters) or 'none'}"
            found = "is outside of the identity of its runs" if name in known else "is no parameter of it"
            raise InvalidCommand(f"{whose}: {name!r} {found}; {hint}")
        if not callable(value):
            _kept(whose, target, name, value)
    return target


def _evaluated(command: AsyncCommand, dependency: DependsOn) -> Need:
    cls = type(command)
    target = check_dependency(cls, dependency)
    whose = f"{label_of(cls)}.dependencies: {dependency!r}"
    values: dict[str, Any] = {}
    for name, value in dependency.parameters.items():
        values[name] = _kept(whose, target, name, _called(whose, name, value, command) if callable(value) else value)
    return Need(target, RunIdentity(name_of(target), values, declaration_of(target).arguments), dependency.within)


def _called(whose: str, name: str, function: Callable[[AsyncCommand], Any], command: AsyncCommand) -> Any:
    try:
        value = function(command)
    except Exception as error:
        raise InvalidCommand(f"{whose}: the function for {name!r} fails: {type(error).__name__}: {error}") from error
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise InvalidCommand(f"{whose}: the function for {name!r} is asynchronous; allowed: one that returns a value")
    return value


def _kept(whose: str, target: type[AsyncCommand], name: str, value: Any) -> Any:
    argument = declaration_of(target).arguments[name]
    try:
        return argument.to_json(argument.accept(value))
    except ValueError as error:
        raise InvalidCommand(f"{whose}: {name!r}: {error}") from None


# -- who needs whom ----------------------------------------------------------------------------------------------------


def graph_of(classes: Iterable[type[AsyncCommand]]) -> dict[str, set[str]]:
    """Which command names which, for these classes and all that they lead to. What cannot be used is left out.

    A command that names itself with other parameters, as the month after needs the month before, is no circle.
    """
    graph: dict[str, set[str]] = {}
    waiting = list(classes)
    while waiting:
        cls = waiting.pop()
        if (name := name_of(cls)) in graph:
            continue
        graph[name] = set()
        for dependency in declaration_of(cls).dependencies:
            try:
                target = check_dependency(cls, dependency)
            except InvalidCommand:
                continue
            if target is not cls or not dependency.parameters:
                graph[name].add(name_of(target))
                waiting.append(target)
    return graph


def circles_in(graph: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Circles, each as names of which every one needs the next, the first one again at the end."""
    left = {name: {*needed} for name, needed in graph.items()}
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]
            yield circle
            left[circle[0]].discard(circle[1])
        else:
            return


def circle_around(cls: type[AsyncCommand]) -> list[str]:
    """The circle that a command's dependencies lead into; empty where there is none."""
    return next(circles_in(graph_of([cls])), [])
