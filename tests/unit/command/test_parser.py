"""Arguments on the command line: positions, options, flags, both spellings, help and errors."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest

import async_commander as ac
from async_commander.command.declaration import declaration_of
from async_commander.command.parser import (
    accept_both_spellings,
    add_arguments_to,
    check_parser,
    extra_options,
)
from async_commander.exceptions import AsyncCommanderError, InvalidCommand


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Handled(ac.AsyncCommand):
    async def handle(self) -> None: ...


class Command(Handled):
    domain: str
    count: int
    start_date: date | None = None
    colour: Colour = Colour.RED
    tags: list[str] = []
    loud: bool = False
    polite: bool = True
    maybe: bool | None = None
    file: Annotated[Path, ac.Option(named=True, short="-f", help="100% of the input.")] = Path("x")
    api_token: Annotated[str, ac.Option(env="TOKEN_OF_TEST")] = "s3cret"


class Named(Handled):
    file: Annotated[Path, ac.Option(named=True)]
    really: Annotated[bool, ac.Option(named=True)]


def parser_of(cls: type[ac.AsyncCommand]) -> ArgumentParser:
    parser = ArgumentParser(prog="arun x", exit_on_error=False)
    add_arguments_to(parser, cls)
    return parser


def parse(cls: type[ac.AsyncCommand], line: str) -> dict[str, Any]:
    names = declaration_of(cls).names
    return {name: value for name, value in vars(parser_of(cls).parse_args(line.split())).items() if name in names}


def refused(cls: type[ac.AsyncCommand], line: str, capsys: pytest.CaptureFixture[str]) -> str:
    parser = ArgumentParser(prog="arun x")
    add_arguments_to(parser, cls)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(line.split())
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_only_what_is_given_is_passed_on() -> None:
    assert parse(Command, "example.org 5") == {"domain": "example.org", "count": 5}


def test_values_are_converted() -> None:
    values = parse(Command, "x 5 --start-date 2026-01-31 --colour b --tags p q -f a.txt")

    assert values["start_date"] == date(2026, 1, 31)
    assert values["colour"] is Colour.BLUE
    assert values["tags"] == ["p", "q"]
    assert values["file"] == Path("a.txt")
    assert Command(**values).tags == ["p", "q"]


@pytest.mark.parametrize("spelling", ["--start-date", "--start_date"])
def test_both_spellings_are_accepted_and_help_shows_one(spelling: str) -> None:
    assert parse(Command, f"x 5 {spelling}=2026-01-31")["start_date"] == date(2026, 1, 31)
    assert "--start_date" not in parser_of(Command).format_help()
    assert "--start-date" in parser_of(Command).format_help()


def test_both_spellings_work_for_options_of_others() -> None:
    parser = ArgumentParser()
    parser.add_argument("--with_underscore", action="store_true")
    parser.add_argument_group("more").add_argument("--with-dash", action="store_true")
    accept_both_spellings(parser)

    found = parser.parse_args(["--with-underscore", "--with_dash"])
    assert found.with_underscore
    assert found.with_dash


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--loud", {"loud": True}),
        ("--no-loud", {"loud": False}),
        ("--no-polite", {"polite": False}),
        ("--no_polite", {"polite": False}),
        ("--polite", {"polite": True}),
        ("--maybe", {"maybe": True}),
        ("--no-maybe", {"maybe": False}),
    ],
)
def test_flags(line: str, expected: dict[str, bool]) -> None:
    assert parse(Command, f"x 5 {line}") == {"domain": "x", "count": 5, **expected}


def test_help_shows_the_flag_that_changes_something() -> None:
    text = parser_of(Command).format_help()

    assert "--loud" in text
    assert "--no-loud" not in text
    assert "--no-polite" in text
    assert "--maybe" in text
    assert "--no-maybe" in text


def test_help_shows_choices_defaults_and_environment_and_no_secret() -> None:
    text = " ".join(parser_of(Command).format_help().split())

    assert "{RED,BLUE}" in text
    assert "(default: RED)" in text
    assert "100% of the input. (default: x)" in text
    assert "(environment: TOKEN_OF_TEST)" in text
    assert "s3cret" not in text


def test_a_value_that_does_not_convert_says_found_and_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "argument count: found 'five', allowed: a whole number" in refused(Command, "x five", capsys)


def test_an_unknown_enum_member_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert "argument --colour: found 'green', allowed: RED, BLUE" in refused(Command, "x 5 --colour green", capsys)


def test_a_missing_positional_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the following arguments are required: count" in refused(Command, "x", capsys)


def test_named_arguments_are_required_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(Named, "--file a --no-really") == {"file": Path("a"), "really": False}
    assert "the following arguments are required: --file" in refused(Named, "--really", capsys)
    assert "one of the arguments --really --no-really is required" in refused(Named, "--file a", capsys)


def test_a_required_secret_is_a_required_option_unless_its_environment_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Secret(Handled):
        api_key: Annotated[str, ac.Option(env="KEY_OF_TEST")]

    assert parse(Secret, "--api-key x") == {"api_key": "x"}
    monkeypatch.setenv("KEY_OF_TEST", "y")
    assert parse(Secret, "") == {}
    assert Secret(**parse(Secret, "")).api_key == "y"


def test_a_positional_list_takes_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    class Many(Handled):
        numbers: list[int]

    assert parse(Many, "1 2 3") == {"numbers": [1, 2, 3]}
    assert "required: numbers" in refused(Many, "", capsys)


class WithParser(Handled):
    domain: str = ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--deep_level", type=int, default="3")
        parser.add_argument_group("more").add_argument("--mode", choices=["a", "b"])


def test_add_arguments_works_beside_annotations() -> None:
    values = parse(WithParser, "--deep-level 7 --mode b --domain x")

    assert values == {"domain": "x", "deep_level": 7, "mode": "b"}
    assert WithParser(**values).options == {"deep_level": 7, "mode": "b"}
    assert WithParser(**values).parameters == {"domain": "x"}


def test_defaults_of_add_arguments_apply_in_python_too() -> None:
    assert WithParser().options == {"deep_level": 3, "mode": None}


def test_a_required_option_of_add_arguments_is_required_in_python_too() -> None:
    class Required(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--mode", required=True)

    with pytest.raises(TypeError, match="missing 1 required argument: 'mode'"):
        Required()
    assert Required(mode="a").options == {"mode": "a"}  # type: ignore[call-arg]


def test_a_list_option_that_is_given_twice_takes_the_values_of_both() -> None:
    class Tagged(Handled):
        tags: list[str] = ["default"]

    assert parse(Tagged, "--tags a --tags b c") == {"tags": ["a", "b", "c"]}
    assert parse(Tagged, "--tags d") == {"tags": ["d"]}
    assert Tagged().tags == ["default"]


def test_the_names_that_a_class_declares_are_those_of_its_arguments_and_of_its_parser() -> None:
    assert declaration_of(WithParser).names == {"domain", "deep_level", "mode"}


def test_a_text_of_add_arguments_that_no_database_keeps_is_refused() -> None:
    with pytest.raises(InvalidCommand, match=r"option 'mode': found .*a text that a database can keep"):
        WithParser(mode="a\0")  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["--threads", "--domain-name", "--verbosity"])
def test_add_arguments_may_not_take_a_name_that_is_taken(option: str) -> None:
    class Clash(Handled):
        domain_name: str = ""

        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument(option)

    with pytest.raises(InvalidCommand, match=r"add_arguments\(\) adds .*choose another name"):
        extra_options(Clash)


def test_two_options_with_one_spelling_are_named() -> None:
    class Clash(Handled):
        first: Annotated[str, ac.Option(short="-f")] = ""
        second: Annotated[str, ac.Option(short="-f")] = ""

    with pytest.raises(InvalidCommand, match=r"two options have one spelling.*-f"):
        parser_of(Clash)


def test_an_option_of_add_arguments_with_the_spelling_of_an_argument_is_named() -> None:
    class Clash(Handled):
        domain: Annotated[str, ac.Option(short="-d")] = ""

        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("-d", "--deep", action="store_true")

    with pytest.raises(InvalidCommand, match=r"Clash: two options have one spelling: argument -d/--deep: conflicting"):
        parser_of(Clash)


def test_positions_that_the_environment_fills_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Filled(Handled):
        domain: Annotated[str, ac.Option(env="DOMAIN_OF_TEST")]
        numbers: Annotated[list[int], ac.Option(env="NUMBERS_OF_TEST")]

    monkeypatch.setenv("DOMAIN_OF_TEST", "example.org")
    monkeypatch.setenv("NUMBERS_OF_TEST", "1, 2")
    assert parse(Filled, "") == {}
    assert (Filled().domain, Filled().numbers) == ("example.org", [1, 2])  # type: ignore[call-arg]
    assert parse(Filled, "x 3") == {"domain": "x", "numbers": [3]}


@pytest.mark.parametrize(
    ("value", "stored"), [(Path("a"), "a"), ([Path("a"), Path("b")], ["a", "b"]), (None, None)], ids=repr
)
def test_a_value_of_add_arguments_comes_back_from_json_as_it_was(value: Any, stored: Any) -> None:
    class Files(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--files", type=Path, nargs="*")

    assert extra_options(Files)["files"].restored(stored) == value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (lambda text: text.split(","), ["a", "b"]),
        (lambda text: f"p/{text}", "p/x"),
        (lambda text: {"size": int(text)}, {"size": 3}),
        (str.upper, "X"),
        (float, 1.5),
    ],
    ids=["split", "prefix", "dict", "upper", "float"],
)
def test_a_type_that_makes_plain_data_is_not_applied_to_it_again(type_: Any, value: Any) -> None:
    class Typed(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--value", type=type_)

    assert extra_options(Typed)["value"].restored(value) == value


def test_a_text_that_the_type_does_not_take_back_is_kept() -> None:
    class Coloured(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--size", type=int)

    assert extra_options(Coloured)["size"].restored("large") == "large"


@pytest.mark.parametrize(
    "flags", [["--json"], ["--no_color"], ["-v"], ["-x", "--help"], ["--max-items"], ["--dry_run"]]
)
def test_add_arguments_may_not_take_a_spelling_that_is_taken(flags: list[str]) -> None:
    class Clash(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument(*flags, dest="something_else")

    for ask in (extra_options, check_parser, parser_of):
        with pytest.raises(
            InvalidCommand, match=rf"Clash\.add_arguments\(\) adds {flags[-1]}, which is a shared option"
        ):
            ask(Clash)


def test_add_arguments_that_clashes_with_itself_or_fails_is_named() -> None:
    class Twice(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--mode")
            parser.add_argument("--mode")

    class Failing(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            raise LookupError("no such mode")

    with pytest.raises(InvalidCommand, match=r"Twice: two options have one spelling: argument --mode"):
        check_parser(Twice)
    with pytest.raises(InvalidCommand, match=r"Failing\.add_arguments\(\) fails: LookupError: no such mode") as raised:
        check_parser(Failing)
    assert isinstance(raised.value.__cause__, LookupError)


def test_none_is_not_offered_to_who_cannot_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Optional(Handled):
        size: int | None = None
        sizes: list[int] | None = None

    assert "found 'None', allowed: a whole number\n" in refused(Optional, "--size None", capsys)
    assert "found 'x', allowed: a whole number\n" in refused(Optional, "--sizes 1 x", capsys)
    assert parse(Optional, "--sizes 1 2 --sizes 3") == {"sizes": [1, 2, 3]}


def test_a_help_text_that_argparse_cannot_show_is_named() -> None:
    class Unhelpful(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--share", help="up to 50% (of all)")

    with pytest.raises(InvalidCommand, match=r"Unhelpful.*(cannot be shown|add_arguments\(\) fails): ValueError"):
        check_parser(Unhelpful)


@pytest.mark.parametrize(("type_", "default"), [(int, "x"), (lambda text: 1 / 0, "x")])
def test_a_default_of_add_arguments_that_its_type_does_not_take_is_named(type_: Any, default: Any) -> None:
    class Failing(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--size", type=type_, default=default)

    with pytest.raises(
        InvalidCommand, match=r"add_arguments\(\): the default of 'size' is 'x', which its type does not"
    ):
        extra_options(Failing)


def test_add_arguments_that_ends_the_process_is_named() -> None:
    class Failing(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            sys.exit(3)

    with pytest.raises(InvalidCommand, match=r"add_arguments\(\) fails: SystemExit: 3"):
        check_parser(Failing)


def test_add_arguments_is_no_coroutine() -> None:
    class Asynchronous(Handled):
        async def add_arguments(self, parser: ArgumentParser) -> None: ...  # type: ignore[override]

    with pytest.raises(InvalidCommand, match=r"is `async def`; allowed: `def add_arguments\(self, parser\)`"):
        Asynchronous()


def test_add_arguments_that_asks_for_what_a_run_brings_is_told_so() -> None:
    class Early(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--size", default=self.verbosity)

    with pytest.raises(AsyncCommanderError, match=r"self\.verbosity exists only while a run is open"):
        Early()


def test_one_value_of_add_arguments_is_not_given_by_two_names() -> None:
    class Files(Handled):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--out-file", dest="target")

    assert Files(out_file="a").options == Files(target="a").options  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="got two values for 'target'"):
        Files(out_file="a", target="b")  # type: ignore[call-arg]
