"""Ported commands: `handle(self, *args, **options)` and `add_arguments()` mean here what they mean there."""

from __future__ import annotations

import argparse
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

import async_commander as ac

OWN = {"force", "yes"}
"""What is there beside Django's."""


def ported(add_arguments: Any) -> tuple[type[ac.AsyncCommand], BaseCommand]:
    """The same command twice: here, and as a command of Django. Both keep what `handle` got."""

    def handle(self: Any, *args: Any, **options: Any) -> None:
        type(self).got = (args, options)

    here = type("Command", (ac.AsyncCommand,), {"add_arguments": add_arguments, "handle": handle})
    there = type("Command", (BaseCommand,), {"add_arguments": add_arguments, "handle": handle})
    return here, there()


ARGUMENTS = {
    "any number": lambda parser: parser.add_argument("domains", nargs="*"),
    "perhaps one": lambda parser: parser.add_argument("domain", nargs="?"),
    "perhaps one, with a default": lambda parser: parser.add_argument("domain", nargs="?", default="all", const="none"),
    "the rest": lambda parser: parser.add_argument("rest", nargs=argparse.REMAINDER),
    "args": lambda parser: parser.add_argument("args", nargs="*", metavar="label"),
    "a default": lambda parser: parser.add_argument("--size", type=int, default="7"),
    "a constant": lambda parser: parser.add_argument("--fast", action="store_const", const=9),
    "a switch": lambda parser: parser.add_argument("--loud", action="store_true"),
    "a switch off": lambda parser: parser.add_argument("--quiet", action="store_false", dest="noisy"),
    "a list": lambda parser: parser.add_argument("--tag", action="append"),
    "a list with a default": lambda parser: parser.add_argument("--tag", action="extend", nargs="+", default=["a"]),
    "a count": lambda parser: parser.add_argument("-l", "--level", action="count", default=0),
    "choices": lambda parser: parser.add_argument("--mode", choices=["full", "quick"]),
    "another name": lambda parser: parser.add_argument("--out-file", dest="target"),
    "nothing unless given": lambda parser: parser.add_argument("--secretly", default=argparse.SUPPRESS),
    "a set default": lambda parser: (parser.add_argument("--size", type=int), parser.set_defaults(size=3, extra="x")),
    "either": lambda parser: [
        parser.add_mutually_exclusive_group().add_argument(f"--{name}") for name in ("one", "two")
    ],
    "yes or no": lambda parser: parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=True),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_what_is_not_given_is_as_call_command_has_it(run: Any, what: str) -> None:
    here, there = ported(lambda self, parser: ARGUMENTS[what](parser))
    run(here())
    call_command(there)
    args, options = here.got
    assert (args, {name: value for name, value in options.items() if name not in OWN}) == there.got


GIVEN = [
    ("perhaps one", {"domain": "a"}),
    ("a default", {"size": 5}),
    ("a default", {"size": "5"}),
    ("a constant", {"fast": 9}),
    ("a switch", {"loud": True}),
    ("a switch off", {"noisy": False}),
    ("a switch off", {"quiet": False}),
    ("a list", {"tag": ["x"]}),
    ("a count", {"level": 2}),
    ("choices", {"mode": "full"}),
    ("another name", {"out_file": "x"}),
    ("another name", {"target": "x"}),
    ("nothing unless given", {"secretly": "x"}),
    ("either", {"two": "x"}),
    ("yes or no", {"cache": False}),
]


@pytest.mark.parametrize(("what", "given"), GIVEN)
def test_what_is_given_is_as_call_command_has_it(run: Any, what: str, given: dict[str, Any]) -> None:
    here, there = ported(lambda self, parser: ARGUMENTS[what](parser))
    run(here(**given))
    call_command(there, **given)
    args, options = here.got
    assert (args, {name: value for name, value in options.items() if name not in OWN}) == there.got


REQUIRED = {
    "one": (lambda parser: parser.add_argument("domain"), "missing 1 required argument: 'domain'"),
    "some": (lambda parser: parser.add_argument("domains", nargs="+"), "missing 1 required argument: 'domains'"),
    "two": (lambda parser: parser.add_argument("pair", nargs=2), "missing 1 required argument: 'pair'"),
    "an option": (lambda parser: parser.add_argument("--size", required=True), "missing 1 required argument: 'size'"),
}


@pytest.mark.parametrize("what", REQUIRED)
def test_what_is_required_is_missed_in_code_as_on_the_command_line(run: Any, what: str) -> None:
    add, said = REQUIRED[what]
    here, _ = ported(lambda self, parser: add(parser))
    with pytest.raises(TypeError, match=said):
        here()


def one_of_two(self: Any, parser: Any) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--one")
    group.add_argument("--two", type=int)


def test_one_of_a_required_group_is_wanted(run: Any) -> None:
    here, there = ported(one_of_two)
    with pytest.raises(TypeError, match="missing one of 'one' and 'two'"):
        here()
    with pytest.raises(TypeError, match="takes one of 'one' and 'two', found 2"):
        here(one="x", two=3)
    run(here(two=3))
    call_command(there, two=3)
    assert {name: value for name, value in here.got[1].items() if name not in OWN} == there.got[1]


def test_a_choice_of_what_is_required_is_checked() -> None:
    here, _ = ported(lambda self, parser: parser.add_argument("--mode", choices=["full", "quick"], required=True))
    with pytest.raises(ac.InvalidCommand, match="option 'mode': found 'half', allowed: full, quick"):
        here(mode="half")
    assert here(mode="full").options == {"mode": "full"}


def sub_commands(self: Any, parser: Any) -> None:
    below = parser.add_subparsers(dest="what", required=True)
    load = below.add_parser("load")
    load.add_argument("path")
    load.add_argument("--limit", type=int, default=10)
    below.add_parser("clear").set_defaults(really=True)


def test_sub_commands_bring_their_values(run: Any) -> None:
    here, _ = ported(sub_commands)
    with pytest.raises(TypeError, match="missing 1 required argument: 'what'"):
        here()
    with pytest.raises(TypeError, match="missing 1 required argument: 'path'"):
        here(what="load")
    assert here(what="load", path="x").options == {"what": "load", "path": "x", "limit": 10}
    assert here(what="clear").options == {"what": "clear", "really": True}


class Asks(ac.AsyncCommand):
    domain: str
    size: Decimal = Decimal(3)

    def handle(self) -> None: ...


def keeps(**form: Any) -> type[Asks]:
    return type("Command", (Asks,), form)


def all_of_it(self: Any, *args: Any, **options: Any) -> Any:
    return [args, options["domain"], options["size"], options["verbosity"], options["settings"]]


async def all_of_it_awaited(self: Any, *args: Any, **options: Any) -> Any:
    return all_of_it(self, *args, **options)


def options_alone(self: Any, **options: Any) -> Any:
    return [(), options["domain"], options["size"], options["verbosity"], options["settings"]]


def some_by_name(self: Any, domain: str, *_: Any, size: Decimal, settings: Any, **rest: Any) -> Any:
    return [(), domain, size, rest["verbosity"], settings]


def only_by_name(self: Any, domain: str, verbosity: int, settings: Any = None, size: Any = None) -> Any:
    return [(), domain, size, verbosity, settings]


def not_even_self(*args: Any, **options: Any) -> Any:
    return all_of_it(*args, **options)


@pytest.mark.parametrize(
    "handle",
    [all_of_it, all_of_it_awaited, options_alone, some_by_name, only_by_name, not_even_self],
    ids=lambda form: form.__name__,
)
def test_handle_gets_what_it_asks_for(run: Any, handle: Any) -> None:
    result = run(keeps(handle=handle)(domain="x"), verbosity=2)
    assert [*map(str, result.value)] == ["()", "x", "3", "2", "None"]


def test_handle_that_asks_for_what_there_is_not_is_refused() -> None:
    def handle(self: Any, colour: str, **_: Any) -> None: ...

    with pytest.raises(
        ac.InvalidCommand, match=r"handle\(\) asks for 'colour', which is neither an argument nor an option"
    ):
        keeps(handle=handle)(domain="x")


def test_handle_by_position_alone_is_refused() -> None:
    def handle(self: Any, domain: str, /) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"handle\(self, \*args, \*\*options\)"):
        keeps(handle=handle)(domain="x")


def test_values_by_position_may_be_given_by_their_names(run: Any) -> None:
    here, there = ported(lambda self, parser: parser.add_argument("domains", nargs="*"))
    run(here(domains=["a", "b"]))
    call_command(there, "a", "b")
    assert here.got[1]["domains"] == there.got[1]["domains"] == ["a", "b"]


def test_positions_named_args_arrive_by_position(run: Any) -> None:
    here, there = ported(lambda self, parser: parser.add_argument("args", nargs="+", metavar="label"))
    run(here(args=["a", "b"]))
    call_command(there, "a", "b")
    assert here.got[0] == there.got[0] == ("a", "b")
    with pytest.raises(TypeError, match="missing 1 required argument: 'args'"):
        here()


def called(here: type[ac.AsyncCommand], *args: str, **options: Any) -> Any:
    """By `call_command`, through the wrapper for plain `manage.py`."""
    call_command(ac.as_management_command(here)(), *args, verbosity=0, **options)
    return here.got


@pytest.mark.django_db
def test_call_command_gives_the_same_through_the_wrapper() -> None:
    here, _ = ported(lambda self, parser: parser.add_argument("domains", nargs="*"))
    assert called(here)[1]["domains"] == []
    assert called(here, "a", "b")[1]["domains"] == ["a", "b"]
    assert called(here, domains=["c"])[1]["domains"] == ["c"]
    labels, _ = ported(lambda self, parser: parser.add_argument("args", nargs="*", metavar="label"))
    assert called(labels, "a", "b")[0] == ("a", "b")
    assert called(labels)[0] == ()


@pytest.mark.django_db
@pytest.mark.parametrize("what", REQUIRED)
def test_call_command_misses_what_is_required_through_the_wrapper(what: str) -> None:
    add, said = REQUIRED[what]
    here, _ = ported(lambda self, parser: add(parser))
    with pytest.raises(CommandError, match=said):
        called(here)


@pytest.mark.django_db
def test_call_command_wants_one_of_a_required_group_through_the_wrapper() -> None:
    here, _ = ported(one_of_two)
    with pytest.raises(CommandError, match="missing one of 'one' and 'two'"):
        called(here)
    assert called(here, "--two", "3")[1]["two"] == 3
