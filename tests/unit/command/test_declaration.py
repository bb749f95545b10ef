"""A class that cannot be used as it is written is refused when it is used, with the remedy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytest

import async_commander as ac
from async_commander.command.declaration import declaration_of
from async_commander.exceptions import InvalidCommand


def made(**attributes: Any) -> type[ac.AsyncCommand]:
    async def handle(self: Any) -> None: ...

    return type("Command", (ac.AsyncCommand,), {"handle": handle, **attributes})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("limits", {"threads": 5}, r"ac\.Limits\(…\)"),
        ("retry", 3, r"ac\.Retry\(…\)"),
        ("keep_values", "yes", "True or False"),
        ("help", None, "a text"),
        ("option_defaults", ["delete"], "a dict"),
        ("requires_system_checks", "models", '"__all__" or a list of tags'),
    ],
)
def test_class_attributes_of_a_wrong_type_are_named(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(InvalidCommand, match=rf"Command: {name} is .*; allowed: {allowed}"):
        made(**{name: value})()


def test_defaults_for_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(
        InvalidCommand, match="option_defaults names 'thread', which does not exist; did you mean 'threads'"
    ):
        made(option_defaults={"thread": 3})()


def test_right_attributes_pass() -> None:
    made(
        limits=ac.Limits(threads=5), option_defaults={"yes": True}, requires_system_checks=["models"], keep_values=True
    )()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("threads", "many", "threads='many': a whole number is needed"),
        ("timeout", "1h30m", "timeout='1h30m': a number of seconds is needed"),
        ("grace", "5s", "grace='5s': at least 0 seconds are needed"),
        ("yes", 1, "yes=1: True or False is needed"),
        ("progress", "dots", "progress='dots': one of auto, bar, plain, none is needed"),
        ("database", None, "database=None: leave it out"),
        ("database", "", "database='': an alias of DATABASES is needed"),
        pytest.param("threads", 10**5000, "threads=.*: less than 9223372036854775808 is needed", id="endless"),
    ],
)
def test_defaults_that_options_cannot_have_are_named(name: str, value: Any, told: str) -> None:
    with pytest.raises(
        InvalidCommand, match=rf"Command: option_defaults gives '{name}' a value that does not fit: {told}"
    ):
        made(option_defaults={name: value})()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("max_failures", "lots", "max_failures='lots': a number of items"),
        ("max_items", 0, "max_items=0: a whole number from 1 is needed"),
        ("resume_run", True, "resume_run=True: the number of a run is needed"),
    ],
)
def test_defaults_that_options_about_items_cannot_have_are_named(name: str, value: Any, told: str) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        option_defaults = {name: value}

        def iterate(self) -> list[int]: ...
        def download(self, item: int) -> int: ...
        def parse_and_save(self, item: int, payload: int) -> None: ...

    with pytest.raises(InvalidCommand, match=rf"option_defaults gives '{name}' a value that does not fit: {told}"):
        Command()


def test_defaults_for_options_about_items_are_refused_where_there_are_none() -> None:
    with pytest.raises(InvalidCommand, match="'max_items', which has no effect here: this command has no items"):
        made(option_defaults={"max_items": 5})()


def test_a_method_that_is_left_abstract_is_named() -> None:
    class Command(made(), ABC):  # type: ignore[misc]
        @abstractmethod
        def source(self) -> str: ...

    with pytest.raises(InvalidCommand, match="Command leaves source abstract"):
        Command()


def test_what_a_class_declares_is_read_once() -> None:
    asked: list[str] = []

    def add_arguments(self: Any, parser: Any) -> None:
        asked.append("again")
        parser.add_argument("--out-file", dest="target")

    cls = made(add_arguments=add_arguments)
    first = declaration_of(cls)
    asked.clear()
    assert declaration_of(cls) is first
    assert asked == []
    assert (first.names, first.has_items) == ({"target", "out_file"}, False)
    assert declaration_of(made()) is not first


def test_a_hook_may_ask_for_an_option_of_add_arguments_by_name() -> None:
    def add_arguments(self: Any, parser: Any) -> None:
        parser.add_argument("--colour")

    async def handle(self: Any, colour: str, **options: Any) -> None: ...

    assert made(add_arguments=add_arguments, handle=handle)(colour="red").options == {"colour": "red"}


def with_test_values(**attributes: Any) -> type[ac.AsyncCommand]:
    def add_arguments(self, parser) -> None:
        parser.add_argument("--out-file", dest="target")
        parser.add_argument("--refresh", action="store_true")

    annotations = {"domain": str, "api_token": str}
    return made(add_arguments=add_arguments, __annotations__=annotations, **attributes)


@pytest.mark.parametrize(
    ("attribute", "values", "told"),
    [
        ("test_parameters", ["domain"], r"test_parameters is \['domain'\]; allowed: a dict"),
        (
            "test_parameters",
            {"domain": 5},
            r"the test value of 'domain' does not fit: found 5 \(int\), allowed: a text",
        ),
        (
            "test_parameters",
            {"api_token": 5},
            r"the test value of 'api_token' does not fit: found \*+, allowed: a text",
        ),
        (
            "test_parameters",
            {"domian": "x"},
            "test_options names 'domian', which does not exist; did you mean 'domain'",
        ),
        ("test_options", {"threads": "many"}, "test_options gives 'threads' a value that does not fit"),
        ("test_options", {"max_items": 5}, "test_options names 'max_items', which has no effect here"),
        ("test_options", {"test": True}, "'test' is no test value"),
    ],
)
def test_test_values_that_do_not_fit_are_named(attribute: str, values: Any, told: str) -> None:
    with pytest.raises(InvalidCommand, match=told):
        declaration_of(with_test_values(**{attribute: values}))


def test_test_values_are_known_by_the_names_of_the_values() -> None:
    declared = declaration_of(
        with_test_values(test_parameters={"domain": "x"}, test_options={"out_file": "y", "refresh": True, "yes": True})
    )
    assert declared.has_test_values
    assert declared.test_values == {"domain": "x", "target": "y", "refresh": True, "yes": True}
    assert not declaration_of(with_test_values()).has_test_values
    assert declaration_of(with_test_values(test_parameters={})).has_test_values
