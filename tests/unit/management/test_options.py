"""The shared options: each is known to the rooms below and reaches the run."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from async_commander.command.options import CACHED, ITEMS, KEPT, ON_THE_LINE, REQUESTS
from async_commander.engine.limits import BOUNDS
from async_commander.management import options
from async_commander.runner.request import RunRequest


def parse(*tokens: str, has_items: bool = True) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    options.add_shared(parser, options.acting([ITEMS, KEPT] if has_items else []))
    return vars(parser.parse_args(tokens))


def test_every_option_reaches_the_limits_or_the_request_or_is_the_terminal_s_own() -> None:
    assert ON_THE_LINE - BOUNDS.keys() - REQUESTS.keys() == {"progress"}
    assert REQUESTS.keys() == {field.name for field in fields(RunRequest)} - {"limits", "django", "queued"}


def test_what_is_not_given_is_not_passed_on() -> None:
    assert options.bounds_in(parse()) == {}
    assert options.requests_in(parse()) == {}


def test_bounds_and_requests_are_told_apart() -> None:
    values = parse("--threads", "50", "--timeout", "5m", "--max-items", "7", "--resume", "--json", "--progress", "none")
    assert options.bounds_in(values) == {"threads": 50, "timeout": 300.0}
    assert options.requests_in(values) == {"max_items": 7, "resume": True, "json": True}


def test_zero_failures_allowed_is_a_bound_that_was_given() -> None:
    assert options.bounds_in(parse("--max-failures", "0")) == {"max_failures": "0"}


def test_a_command_without_items_has_no_options_about_items() -> None:
    names = {option.name for option in options.acting([])}
    assert names.isdisjoint({"max_items", "max_failures", "batch_size", "item_timeout"})
    assert {"threads", "timeout", "yes", "json", "database"} <= names


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2H", 7200),
        ("1m5", 65),
        ("5 minutes", 300),
        ("1:30", 90),
        ("PT2H", 7200),
    ],
)
def test_a_stretch_of_time_reads_as_it_is_said(text: str, seconds: float) -> None:
    assert options.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 fortnights", "-3", "s", "m5m"])
def test_what_is_no_stretch_of_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="5m"):
        options.seconds(text)


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many"])
def test_only_whole_numbers_from_one_count(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.whole(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_is_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=r"more than 0|is no number"):
        parse("--per-second", text)


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--max-failures", "200%", "'200%': a number of items, or a share from"),
        ("--max-failures", "none", '"100%" allows any number'),
        ("--timeout", "0", "'0': more than 0 is needed"),
        ("--database", "", "'': an alias of DATABASES is needed"),
        ("--threads", "9" * 30, "less than 9223372036854775808 is needed"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words_of_the_terminal(flag: str, text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=f"argument {flag}: ") as raised:
        parse(flag, text)
    assert said in str(raised.value)
    assert "None" not in str(raised.value)


def test_threads_of_a_command_without_items_are_not_called_items() -> None:
    told = {option.name: option.help for option in options.acting([])}
    assert "items" not in told["threads"]


@pytest.mark.parametrize(
    ("features", "shown"), [([], False), ([ITEMS], False), ([CACHED], True), ([ITEMS, CACHED], True)]
)
def test_refresh_cache_is_offered_where_something_is_cached(features: list[str], shown: bool) -> None:
    assert ("refresh_cache" in {option.name for option in options.acting(features)}) is shown
