"""Annotated attributes become arguments: which do, what they accept, and what is said about those that cannot."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

import async_commander as ac
from async_commander.command.arguments import arguments_of, complete, to_json
from async_commander.command.options import REQUESTS
from async_commander.command.parser import check_parser
from async_commander.engine.limits import BOUNDS
from async_commander.exceptions import InvalidCommand
from async_commander.runner.request import split_call


class Plain(ac.AsyncCommand):
    domain: str
    since: date | None = None
    tags: list[str] = []
    _private: int = 1
    shared: ClassVar[int] = 2
    quoted: "ClassVar[Unknown]" = 3  # noqa: F821, UP037  # never evaluated
    unannotated = 4

    async def handle(self) -> None: ...


def make(**namespace: Any) -> type[ac.AsyncCommand]:
    """A command class with these annotations and defaults: `name=(type,)` or `name=(type, default)`."""
    annotations = {name: value[0] for name, value in namespace.items()}
    defaults = {name: value[1] for name, value in namespace.items() if len(value) > 1}

    async def handle(self: Any) -> None: ...

    return type("Command", (ac.AsyncCommand,), {"__annotations__": annotations, "handle": handle, **defaults})


def test_public_annotated_attributes_are_arguments_and_nothing_else_is() -> None:
    assert list(arguments_of(Plain)) == ["domain", "since", "tags"]


def test_an_attribute_without_default_is_required_and_positional() -> None:
    assert arguments_of(Plain)["domain"].positional
    assert not arguments_of(Plain)["since"].positional


def test_values_are_converted_from_text() -> None:
    command = Plain(domain="x", since="2026-01-31")  # type: ignore[arg-type]

    assert command.since == date(2026, 1, 31)


def test_a_missing_argument_is_a_type_error_that_names_it() -> None:
    with pytest.raises(TypeError, match=r"Plain\(\) missing 1 required argument: 'domain'"):
        Plain()  # type: ignore[call-arg]


def test_an_unknown_argument_is_a_type_error_with_a_suggestion() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'domian'. Did you mean 'domain'\?"):
        Plain(domian="x")  # type: ignore[call-arg]


def test_an_unknown_argument_like_no_other_lists_those_that_exist() -> None:
    with pytest.raises(TypeError, match=r"'zzz'. Known: domain, since, tags\."):
        Plain(domain="x", zzz=1)  # type: ignore[call-arg]


def test_a_value_that_does_not_fit_says_found_and_allowed() -> None:
    with pytest.raises(
        InvalidCommand, match=r"argument 'since': found 'soon', allowed: a date like 2026-01-31 or None"
    ):
        Plain(domain="x", since="soon")  # type: ignore[arg-type]


def test_a_list_default_is_not_shared_between_instances() -> None:
    Plain(domain="a").tags.append("x")

    assert Plain(domain="b").tags == []


def test_a_default_that_does_not_fit_is_found_at_first_use_of_the_class() -> None:
    with pytest.raises(
        InvalidCommand, match="the default of 'size' does not fit: found 'big', allowed: a whole number"
    ):
        arguments_of(make(size=(int, "big")))


def test_none_for_a_type_without_none_names_the_remedy() -> None:
    with pytest.raises(InvalidCommand, match=r"Write `since: date \| None = None`"):
        arguments_of(make(since=(date, None)))


@pytest.mark.parametrize("name", ["threads", "dry_run", "verbosity", "settings", "color", "args"])
def test_a_name_of_a_shared_option_is_refused(name: str) -> None:
    with pytest.raises(InvalidCommand, match=f"'{name}' is a shared option"):
        arguments_of(make(**{name: (str, "")}))


@pytest.mark.parametrize("name", ["db", "http", "log", "parameters", "previous", "record", "stopping", "handle"])
def test_a_name_of_the_base_class_is_refused_without_a_default_too(name: str) -> None:
    with pytest.raises(InvalidCommand, match=f"'{name}' is an attribute of every command"):
        make(**{name: (str,)})()


def test_a_property_of_the_authors_takes_an_argument_of_a_base_away() -> None:
    class Base(Plain):
        domain: str

    class Fixed(Base):
        @property
        def domain(self) -> str:  # type: ignore[override]
            return "example.org"

    assert "domain" not in arguments_of(Fixed)
    assert Fixed().domain == "example.org"


@pytest.mark.parametrize("name", ["http", "handle", "help", "limits", "parameters"])
def test_a_name_of_the_base_class_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(InvalidCommand, match=f"'{name}' is an attribute of every command.*without annotation"):
        arguments_of(make(**{name: (str, "")}))


def test_names_that_only_another_shape_uses_are_free() -> None:
    assert list(arguments_of(make(total=(int, 1)))) == ["total"]


def test_an_unsupported_type_lists_the_supported_ones() -> None:
    with pytest.raises(
        InvalidCommand, match=r"'where' cannot be an argument's: found dict\[str, int\], allowed: str, int"
    ):
        arguments_of(make(where=(dict[str, int],)))


@pytest.mark.parametrize("short", ["", "--f", "-ff", "-h", "h", "-v", "-1"])
def test_a_bad_short_option_is_refused(short: str) -> None:
    with pytest.raises(InvalidCommand, match=r"short=.*allowed: a letter"):
        arguments_of(make(file=(Annotated[Path, ac.Option(short=short)], Path("x"))))


@pytest.mark.parametrize("short", ["f", "-f"])
def test_a_short_option_is_a_letter_with_or_without_its_dash(short: str) -> None:
    argument = arguments_of(make(file=(Annotated[Path, ac.Option(short=short)], Path("x"))))["file"]

    assert argument.spellings == ("-f", "--file")


def test_a_short_option_of_a_positional_argument_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="short='-f' and is positional"):
        arguments_of(make(file=(Annotated[Path, ac.Option(short="-f")],)))


@pytest.mark.parametrize("order", [("x", "no_x"), ("no_x", "x")])
def test_a_flag_beside_the_name_of_its_opposite_is_refused(order: tuple[str, str]) -> None:
    arguments = {"x": (bool, True), "no_x": (int, 1)}
    with pytest.raises(InvalidCommand, match=r"two options have one spelling, --no-x: 'x' and|--no-x: 'no_x' and 'x'"):
        arguments_of(make(**{name: arguments[name] for name in order}))


def test_a_positional_beside_a_flag_of_that_opposite_has_no_spelling_to_clash() -> None:
    assert list(arguments_of(make(x=(bool, True), no_x=(int,)))) == ["x", "no_x"]


@pytest.mark.parametrize("choices", [[], "abc"])
def test_choices_must_be_a_list_of_values(choices: Any) -> None:
    with pytest.raises(InvalidCommand, match="choices="):
        arguments_of(make(size=(Annotated[str, ac.Option(choices=choices)],)))


def test_a_choice_must_be_of_the_arguments_type() -> None:
    with pytest.raises(InvalidCommand, match="a choice of 'size' does not fit"):
        arguments_of(make(size=(Annotated[int, ac.Option(choices=["big"])],)))


def test_only_choices_are_accepted_in_lists_too() -> None:
    cls = make(
        size=(Annotated[int, ac.Option(choices=[1, 2])], 1), sizes=(Annotated[list[int], ac.Option(choices=[1])], [])
    )

    assert cls(size="2", sizes=[1]).size == 2  # type: ignore[call-arg, attr-defined]
    with pytest.raises(InvalidCommand, match="found 3, allowed: 1, 2"):
        cls(size=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidCommand, match="found 2, allowed: 1"):
        cls(sizes=[1, 2])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "secret"), [("api_token", True), ("author", False), ("keyboard", False), ("key", True)]
)
def test_a_word_of_the_name_makes_a_secret(name: str, secret: bool) -> None:
    assert arguments_of(make(**{name: (str, "")}))[name].secret is secret


def test_secret_false_opts_out() -> None:
    argument = arguments_of(make(sort_key=(Annotated[str, ac.Option(secret=False)],)))["sort_key"]

    assert not argument.secret
    assert argument.positional


def test_a_secret_is_an_option_outside_the_identity() -> None:
    cls = make(site=(str,), pin=(Annotated[int, ac.Option(secret=True)],))
    command = cls(site="x", pin=1234)  # type: ignore[call-arg]

    assert command.parameters == {"site": "x"}
    assert command.options == {"pin": 1234}
    assert not arguments_of(cls)["pin"].positional
    assert to_json(cls, {"site": "x", "pin": 1234}) == {"site": "x"}
    assert "1234" not in repr(command)


def test_the_value_of_a_secret_is_in_no_message() -> None:
    cls = make(pin=(Annotated[int, ac.Option(secret=True)],))

    with pytest.raises(InvalidCommand, match=r"found \*+, allowed: a whole number") as caught:
        cls(pin="hunter2")  # type: ignore[call-arg]
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_identity_false_makes_an_option() -> None:
    command = make(page=(Annotated[int, ac.Option(identity=False)], 1))(page=7)  # type: ignore[call-arg]

    assert command.parameters == {}
    assert command.options == {"page": 7}


def test_the_environment_gives_what_the_call_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = make(
        size=(Annotated[int, ac.Option(env="A_SIZE")],), sizes=(Annotated[list[int], ac.Option(env="SIZES")], [])
    )
    monkeypatch.setenv("A_SIZE", "7")
    monkeypatch.setenv("SIZES", "1, 2")

    assert complete(cls, {}) == {"size": 7, "sizes": [1, 2]}
    assert complete(cls, {"size": 8, "sizes": []}) == {"size": 8, "sizes": []}


def test_values_survive_json() -> None:
    command = Plain(domain="x", since=date(2026, 1, 31), tags=["a"])
    stored = to_json(Plain, command.parameters)

    assert stored == {"domain": "x", "since": "2026-01-31", "tags": ["a"]}
    assert Plain(**stored).parameters == command.parameters


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "caf\udce9"])
@pytest.mark.parametrize("kind", [str, str | None, Path])
def test_a_text_that_no_database_keeps_is_refused_with_the_remedy(kind: Any, text: str) -> None:
    with pytest.raises(
        InvalidCommand, match=r"found '.*\\.*', allowed: a text that a database can keep.*leave these out"
    ):
        make(name=(kind,))(name=text)  # type: ignore[call-arg]
    with pytest.raises(InvalidCommand, match="a text that a database can keep"):
        make(names=(list[kind],))(names=["good", text])  # type: ignore[call-arg]


def test_values_by_position_are_refused_with_the_keyword_form() -> None:
    with pytest.raises(TypeError, match=r"Plain\(\) takes its arguments by keyword, found 1 .*write Plain\(domain=…\)"):
        Plain("example.org")  # type: ignore[misc, call-arg]
    with pytest.raises(TypeError, match="found 1 by position; it declares none"):
        make()(1)


def test_names_of_options_of_the_terminal_are_refused_and_those_of_code_are_free() -> None:
    assert list(arguments_of(make(user=(str,), trigger=(str,), lease_seconds=(int, 1)))) == [
        "user",
        "trigger",
        "lease_seconds",
    ]
    with pytest.raises(InvalidCommand, match="'grace' is a shared option"):
        arguments_of(make(grace=(int, 1)))


@pytest.mark.parametrize("name", ["max_body", "reporter", "recorder"])
def test_what_a_call_takes_for_the_run_cannot_be_an_argument(name: str) -> None:
    with pytest.raises(
        InvalidCommand, match=rf"'{name}' is given to the run of any command, as in ac\.run\(…, {name}=…\)"
    ):
        arguments_of(make(**{name: (str, "")}))


def test_no_name_of_a_call_is_both_taken_by_the_run_and_free_for_a_command() -> None:
    own = {"user", "trigger", "request", "lease_seconds"}
    for name in {*BOUNDS, *REQUESTS} - own:
        with pytest.raises(InvalidCommand, match=r"shared option|given to the run|attribute of every command"):
            arguments_of(make(**{name: (str, "")}))
    assert split_call(dict.fromkeys(own, "mine"), own)[1] == dict.fromkeys(own, "mine")


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (int, "soon", "found 'soon', allowed: a whole number$"),
        (int | None, "None", "found 'None', allowed: a whole number$"),
        (list[int], "1, x", "found .*, allowed: a list, each member a whole number$"),
    ],
)
def test_a_wrong_value_of_the_environment_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, kind: Any, text: str, told: str
) -> None:
    command = make(size=(Annotated[kind, ac.Option(env="A_SIZE", named=True)],))
    monkeypatch.setenv("A_SIZE", text)
    with pytest.raises(InvalidCommand, match=f"argument 'size', from the environment variable A_SIZE: {told}"):
        complete(command, {})
    with pytest.raises(InvalidCommand, match="argument 'size': found"):
        complete(command, {"size": "x"})


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("help", 3, "a text"),
        ("short", 3, "a letter"),
        ("named", "yes", "True or False"),
        ("identity", "no", "True or False"),
        ("secret", "yes", "True, False or None"),
        ("env", 3, "the name of an environment variable"),
        ("env", "", "the name of an environment variable"),
        ("env", "A=B", "the name of an environment variable"),
        ("choices", 5, "a list of at least one value"),
        ("choices", (one for one in [1]), "a list of at least one value"),
    ],
)
def test_what_an_option_cannot_say_is_named(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(InvalidCommand, match=f"'size' has {field}=.*; allowed: {allowed}"):
        make(size=(Annotated[int, ac.Option(**{field: value})], 1))()


@pytest.mark.parametrize("extras", [(ac.Option,), (ac.Option(help="a"), ac.Option(short="b"))])
def test_one_option_is_allowed(extras: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidCommand, match=r"'size' is annotated with .*; allowed: one ac\.Option"):
        make(size=(Annotated[int, *extras], 1))()


def test_an_option_in_the_place_of_the_default_is_named() -> None:
    with pytest.raises(InvalidCommand, match=r"an Option as its default; write `size: Annotated\[…, ac\.Option"):
        make(size=(int, ac.Option(help="a")))()


@pytest.mark.parametrize(
    ("kind", "default", "kept"),
    [(date, "2026-01-31", date(2026, 1, 31)), (int, "3", 3), (list[int], (1, "2"), [1, 2])],
)
def test_a_default_is_kept_as_a_value_that_is_given(kind: Any, default: Any, kept: Any) -> None:
    cls = make(size=(kind, default))
    assert arguments_of(cls)["size"].default == kept
    assert cls().size == kept
    check_parser(cls)


def test_a_default_that_a_heir_gives_is_the_heir_s_mistake() -> None:
    class Heir(Plain):
        domain = 5

    with pytest.raises(InvalidCommand, match=r"Heir: the default of 'domain' does not fit: found 5 \(int\)"):
        Heir()


def test_a_list_that_is_a_default_is_nobody_s_to_share() -> None:
    cls = make(sizes=(list[int], [1]))
    cls().sizes.append(2)
    assert cls().sizes == [1]


def test_an_argument_may_be_called_cls_and_self() -> None:
    command = make(cls=(int, 1), self=(int, 2))(cls=3, self=4)  # type: ignore[call-arg]
    assert command.parameters == {"cls": 3, "self": 4}
