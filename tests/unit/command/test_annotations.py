"""Annotations are understood wherever their names live: strings, local types, bases, mixins, generics, properties."""

from __future__ import annotations

import sys
import typing as t
from abc import abstractmethod
from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

import pytest

import async_commander as ac
from async_commander.command.arguments import arguments_of
from async_commander.exceptions import InvalidCommand

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
U = TypeVar("U")


class Handled(ac.AsyncCommand):
    async def handle(self) -> None: ...


class Dated(ac.AsyncCommand):
    since: date | None = None


class PlainMixin:
    verbose_title: str = "x"

    @property
    def shout(self) -> str:
        return self.verbose_title.upper()


class Site: ...


def names(cls: type) -> list[str]:
    return list(arguments_of(cls))


def test_arguments_of_bases_come_first_and_keep_their_place_when_repeated() -> None:
    class Command(Handled):
        a: int
        b: int = 1

    class Sub(Command):
        c: int
        a: int = 5

    assert names(Sub) == ["a", "b", "c"]
    assert arguments_of(Sub)["a"].default == 5


def test_a_base_command_and_a_plain_mixin_bring_arguments() -> None:
    class Command(PlainMixin, Dated, Handled):
        domain: str

    assert names(Command) == ["since", "verbose_title", "domain"]
    assert Command(domain="x", verbose_title="y").shout == "Y"  # type: ignore[call-arg]


def test_a_shape_takes_arguments_of_a_base_and_generics_do_not_matter() -> None:
    class Command(Dated, ac.IterateDownloadCommand[Site, str]):
        domain: str

        def iterate(self) -> list[Site]:
            return []

        def download(self, site: Site) -> str:
            return ""

        def parse_and_save(self, site: Site, html: str) -> None: ...

    assert names(Command) == ["since", "domain"]
    assert Command(domain="x").since is None


def test_types_defined_in_a_function_are_found() -> None:
    class Colour(Enum):
        RED = 1

    class Command(Handled):
        colour: Colour = Colour.RED
        others: list[Colour] = []

    assert Command(colour="RED", others=["RED"]).others == [Colour.RED]  # type: ignore[arg-type, list-item]


def test_types_defined_in_a_function_are_found_by_a_nested_class() -> None:
    class Colour(Enum):
        RED = 1

    class Outer:
        class Command(Handled):
            colour: Colour = Colour.RED

    assert names(Outer.Command) == ["colour"]


def test_types_defined_in_the_class_are_found() -> None:
    class Command(Handled):
        class Colour(Enum):
            RED = 1

        colour: Colour = Colour.RED

    assert names(Command) == ["colour"]


def test_an_argument_may_have_the_name_of_its_type() -> None:
    class Command(Handled):
        date: date | None = None

    assert Command(date="2026-01-31").parameters["date"].year == 2026  # type: ignore[arg-type]


def test_annotated_is_read_in_strings() -> None:
    class Command(Handled):
        size: "Annotated[int, ac.Option(short='-s')]" = 1  # noqa: UP037

    assert arguments_of(Command)["size"].option.short == "-s"


@pytest.mark.parametrize("text", ["ClassVar[int]", "ClassVar", "t.ClassVar[int]", "t . ClassVar[Nowhere]", "CV[int]"])
def test_class_vars_are_no_arguments_however_they_are_spelt(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CV", t.ClassVar, raising=False)
    cls = type("Command", (Handled,), {"__annotations__": {"count": text}, "__module__": __name__, "count": 1})

    assert names(cls) == []


def test_a_class_var_takes_an_argument_of_a_base_away() -> None:
    class Command(Dated, Handled):
        since: ClassVar[date | None] = date(2026, 1, 1)  # type: ignore[misc]

    assert names(Command) == []


def test_a_property_takes_an_argument_of_a_base_away() -> None:
    class Command(Dated, Handled):
        @property  # type: ignore[misc, override]
        def since(self) -> date:
            return date(2026, 1, 1)

    assert names(Command) == []
    assert Command().since == date(2026, 1, 1)


def test_another_default_without_annotation_is_taken() -> None:
    class Command(Dated, Handled):
        since = date(2026, 1, 1)

    assert Command().parameters == {"since": date(2026, 1, 1)}


def test_type_variables_are_filled_in_through_several_bases() -> None:
    class Holder(ac.AsyncCommand, Generic[T, U]):
        value: T
        values: list[U]
        maybe: T | None = None

    class Half(Holder[int, U], Generic[U]): ...

    class Command(Half[date]):
        async def handle(self) -> None: ...

    command = Command(value="5", values=["2026-01-31"], maybe=None)  # type: ignore[arg-type, list-item]
    assert command.parameters == {"value": 5, "values": [date(2026, 1, 31)], "maybe": None}


def test_a_type_variable_that_nobody_fills_in_is_refused() -> None:
    class Holder(Handled, Generic[T]):
        value: T

    with pytest.raises(InvalidCommand, match="'value' cannot be an argument's: found ~T"):
        arguments_of(Holder)


def test_an_abstract_base_is_refused_only_when_it_is_used() -> None:
    class Base(ac.IterateDownloadCommand[str, str]):
        domain: str

        @abstractmethod
        def selector(self) -> str: ...

        def download(self, url: str) -> str:
            return url

        def iterate(self) -> list[str]:
            return []

        def parse_and_save(self, url: str, html: str) -> None: ...

    class Command(Base):
        def selector(self) -> str:
            return "a"

    assert Command(domain="x").selector() == "a"
    with pytest.raises(InvalidCommand, match="Base leaves selector abstract: write what is missing"):
        Base(domain="x")  # type: ignore[abstract]


def test_a_name_for_type_checkers_only_names_the_remedy() -> None:
    class Command(Handled):
        price: Decimal = None  # type: ignore[assignment]

    with pytest.raises(
        InvalidCommand, match=r"`price: Decimal` uses a name that is unknown.*outside of `if TYPE_CHECKING:`"
    ):
        Command()


def test_an_annotation_that_is_no_type_is_named() -> None:
    cls: Any = type("Command", (Handled,), {"__annotations__": {"size": "int["}})

    with pytest.raises(InvalidCommand, match=r"`size: int\[` is no type"):
        cls()


@pytest.mark.parametrize("text", ["1/0", "", "a b", "list[", "ac.Nope"])
def test_an_annotation_that_cannot_be_read_is_named(text: str) -> None:
    class Command(ac.AsyncCommand):
        __annotations__ = {"size": text}

        async def handle(self) -> None: ...

    with pytest.raises(InvalidCommand, match=r"Command: `size: .*` is no type: "):
        Command()
