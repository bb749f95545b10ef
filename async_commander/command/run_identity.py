"""Which run a run is, by its command and arguments: also where the class was another one when the run began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from async_commander.text.redactor import HIDDEN, Redactor, no_credentials
from async_commander.text.values import redacted_value

from .arguments import Argument
from .identity import canonical_json, identity


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a stored run compares with the arguments of now.

    `differences` are the values that were others, as (then, now) by name, None for a name that was not known there;
    `gone` what it was begun with and the class does not take any more.
    """

    differences: dict[str, tuple[Any, Any]]
    gone: dict[str, Any]

    @property
    def is_same(self) -> bool:
        """Whether the two are one run."""
        return not self.differences

    def in_words(self) -> str:
        """`domain='a' there, 'b' here; quick is new and True here`."""
        told = [
            f"{name} is new and {now!r:.80} here" if then is None else f"{name}={then!r:.80} there, {now!r:.80} here"
            for name, (then, now) in self.differences.items()
        ]
        return "; ".join(
            [*told, *(f"{name}={value!r:.80} there, no argument any more" for name, value in self.gone.items())]
        )


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """A command's name with the values of its arguments, as JSON keeps them. `arguments` are those the class declares.

    A deploy may change a class between two sittings of one run. What makes no other run of it: an argument that is new
    and has its default; one that left the identity, or the class; one whose type reads the stored value as this value.
    """

    command: str
    parameters: Mapping[str, Any] = field(repr=False)
    arguments: Mapping[str, Argument] = field(repr=False)
    redact: Redactor = field(default=no_credentials, repr=False)
    """As the stored values were."""

    @property
    def digest(self) -> str:
        """The SHA-256 of name and values: what the run's row keeps."""
        return identity(self.command, self.parameters)

    def compare(self, parameters: Mapping[str, Any], options: Mapping[str, Any], digest: str) -> Comparison:
        """Compare with what a run's row keeps: parameters and options, redacted, and the digest of the whole values."""
        if digest == self.digest:
            return Comparison({}, {})
        then = {**{name: options[name] for name in self.parameters if name in options}, **parameters}
        differences: dict[str, tuple[Any, Any]] = {}
        for name, now in self.parameters.items():
            argument = self.arguments[name]
            if name not in then:
                same = not argument.required and _equal(argument.to_json(argument.accept(argument.default)), now)
            elif HIDDEN in str(then[name]):
                same = then[name] == self._redacted(name, now)
            else:
                same = _equal(self._read(argument, then[name]), now)
            if not same:
                differences[name] = then.get(name), self._redacted(name, now)
        hidden = [name for name in self.parameters if name in parameters and HIDDEN in str(parameters[name])]
        if hidden and not differences:
            # The digest under the stored names tells values apart that are hidden there.
            whole = {
                name: self.parameters[name] if name in self.parameters and HIDDEN in str(value) else value
                for name, value in parameters.items()
            }
            if identity(self.command, whole) != digest:
                differences = {name: (parameters[name], HIDDEN) for name in hidden}
        return Comparison(differences, {name: then[name] for name in then if name not in self.arguments})

    def _read(self, argument: Argument, stored: Any) -> Any:
        """A stored value as JSON keeps it now; the value itself where the argument does not take it."""
        try:
            return argument.to_json(argument.accept(stored))
        except ValueError:
            try:
                return argument.to_json(argument.accept(str(stored)))
            except ValueError:
                return stored

    def _redacted(self, name: str, value: Any) -> Any:
        return redacted_value({name: value}, self.redact, shown=[name])[name]


def _equal(one: Any, other: Any) -> bool:
    """Exactly: to Python 1 is True, and to JSON it is not."""
    return canonical_json(one) == canonical_json(other)
