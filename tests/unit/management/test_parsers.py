"""The command line: the name in it, the spelling of options, and what is said about mistakes."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

import pytest
from django.core.management.base import BaseCommand, CommandError

import async_commander as ac
from async_commander.command.declaration import declaration_of
from async_commander.command.options import ITEMS, KEPT
from async_commander.management.options import acting
from async_commander.management.parsers import command_parser, did_you_mean, front_parser, split_name

VALUED = {"-v", "--verbosity", "--threads", "--settings"}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain")
    parser.add_argument("--since-date", dest="since", required=True)
    parser.add_argument("--odd_name", default="")
    parser.add_argument("-q", "--quick", action="store_true")
    parser.add_argument("--no-quick", dest="quick", action="store_false")


def make(*, shell: bool = True, has_items: bool = True) -> Any:
    return command_parser(
        "manage.py arun fetch", "Fetch.", declare, acting([ITEMS, KEPT] if has_items else []), shell=shell
    )


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("fetch a b", "fetch", "a b"),
        ("-v 2 fetch", "fetch", "-v 2"),
        ("-v2 --traceback fetch x", "fetch", "-v2 --traceback x"),
        ("--verbosity=2 fetch --threads 3", "fetch", "--verbosity=2 --threads 3"),
        ("--threads 5 --settings conf fetch", "fetch", "--threads 5 --settings conf"),
        ("--json", None, "--json"),
        ("-v 2", None, "-v 2"),
        ("-- fetch", None, "-- fetch"),
        ("", None, ""),
    ],
)
def test_the_name_is_found_wherever_it_stands(line: str, name: str | None, rest: str) -> None:
    assert split_name(line.split(), VALUED) == (name, rest.split())


def test_django_s_options_are_all_there() -> None:
    django = {flag for action in BaseCommand().create_parser("", "x")._actions for flag in action.option_strings}
    assert django <= {flag for action in make()._actions for flag in action.option_strings}


@pytest.mark.parametrize(
    "line", ["--max-items 3 x --since-date d", "x --max_items 3 --since_date d", "x --since_date=d --max-items=3"]
)
def test_both_spellings_are_taken_in_any_place(line: str) -> None:
    options = make().parse_args(line.split())
    assert (options.max_items, options.since, options.domain) == (3, "d", "x")


def test_an_option_declared_with_underscores_is_also_taken_with_dashes() -> None:
    assert make().parse_args(["x", "--since-date", "d", "--odd-name", "y"]).odd_name == "y"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x --since-date d --max-item 3", "unknown option --max-item. Did you mean --max-items"),
        ("x --since-date d --zzz", "unknown option --zzz."),
        ("x y --since-date d", "one argument too many: 'y'"),
        ("x", "the following arguments are required: --since-date"),
        ("x --since-date d --threads 0", "--threads: 0: at least 1"),
        ("x --since-date d -v 7", "invalid choice: 7"),
        ("x --since-date d --json=yes", "--json is a flag and takes no value, found 'yes': write --json\n"),
        (
            "x --since-date d --quick=yes",
            "--quick is a flag and takes no value, found 'yes': write --quick or --no-quick",
        ),
        ("x --since-date d -q=1", "--quick is a flag and takes no value"),
    ],
)
def test_a_mistake_ends_with_exit_code_2_and_a_word_about_it(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        make().parse_args(line.split())
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert "See manage.py arun fetch --help" in told


def test_an_option_about_items_is_refused_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make(has_items=False).parse_args(["x", "--since-date", "d", "--max-items", "3"])
    assert "--max-items has no effect here: this command has no items" in capsys.readouterr().err


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make().parse_args(["x", "--since-date", "d", "--thread", "3"])
    assert "Did you mean --threads?" in capsys.readouterr().err


def test_a_call_by_code_raises_instead_of_ending_the_process() -> None:
    with pytest.raises(CommandError, match="too many"):
        make(shell=False).parse_args(["x", "y"])


def test_a_call_by_code_may_give_the_rest_by_keyword() -> None:
    assert "domain" not in make(shell=False).parse_args([])


def test_help_keeps_the_rare_options_for_help_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make().parse_args(["--help"])
    short = capsys.readouterr().out
    with pytest.raises(SystemExit):
        make().parse_args(["--help-all"])
    full = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--threads" in short
    assert "--db-lanes" not in short
    assert "auto, bar (a bar on a terminal, else lines)" in " ".join(short.split())
    assert "--settings" not in short
    assert "--db-lanes" in full
    assert "--settings" in full


def test_help_shows_a_rare_option_where_the_command_lives_by_it() -> None:
    class Plain(ac.AsyncCommand):
        async def handle(self): ...

    class Once(Plain):
        run_once = True
        dependencies = ("other",)
        limits = ac.Limits(per_second=2)
        option_defaults: ClassVar = {"grace": 3}

    def shown(cls: type[ac.AsyncCommand]) -> str:
        declared = declaration_of(cls)
        shared = acting(declared.features, declared.lives_by)
        return command_parser("arun x", "", lambda parser: None, shared, shell=True).format_help()

    rare = ("--force", "--run-dependencies", "--ignore-dependencies", "--per-second", "--grace")
    assert not any(option in shown(Plain) for option in rare)
    assert all(option in shown(Once) for option in rare)
    assert "--db-lanes" not in shown(Once)


def front(*, shell: bool = True) -> tuple[Any, list[tuple[str, list[str]]]]:
    handed: list[tuple[str, list[str]]] = []

    def hand_over(name: str, tokens: list[str]) -> argparse.Namespace:
        handed.append((name, list(tokens)))
        return argparse.Namespace()

    return front_parser("manage.py arun", "Run.", hand_over, shell=shell), handed


def test_the_front_hands_the_line_over_untouched() -> None:
    parser, handed = front()
    parser.parse_args(["-v", "2", "--max_items", "3", "fetch", "--own", "thing", "--", "-x"])
    assert handed == [("fetch", ["-v", "2", "--max_items", "3", "--own", "thing", "--", "-x"])]


def test_the_front_reads_a_line_without_a_name_itself() -> None:
    parser, handed = front()
    options = parser.parse_args(["--json", "-v", "2"])
    assert (options.json, options.verbosity, handed) == (True, 2, [])


def test_an_option_of_runs_without_a_name_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    parser, _ = front()
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--threads", "3"])
    assert ended.value.code == 2
    assert "--threads is for a run: name the command" in (said := capsys.readouterr().err)
    assert "NAME --threads 3\n" in said


def test_up_to_three_names_are_suggested() -> None:
    known = ["--threads", "--thread-name", "--threat", "--tread", "--json"]
    assert did_you_mean("--thread", known) == " Did you mean --threads, --tread or --threat?"
    assert did_you_mean("--xyz", known) == ""


def test_what_must_be_given_is_in_the_usage_line_and_marked() -> None:
    def declare(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("domain")
        parser.add_argument("-f", "--file", required=True, help="What to import")
        parser.add_argument("--tags", nargs="*", required=True)
        parser.add_argument("--share", required=True, metavar="{5%,10%}")
        parser.add_argument("--free")
        sure = parser.add_mutually_exclusive_group(required=True)
        sure.add_argument("--sure", action="store_true")
        sure.add_argument("--no-sure", action="store_true")

    told = command_parser("arun x", "", declare, acting([]), shell=True).format_help()
    assert "usage: arun x domain --file FILE --tags TAGS ... --share {5%,10%} (--sure | --no-sure) [options]" in told
    assert "What to import (required)" in told
    assert told.count("(required: --sure or --no-sure)") == 2
    assert told.count("(required") == 5


@pytest.mark.parametrize("shell", [False, True])
def test_two_dashes_are_a_value_like_any_other(shell: bool) -> None:
    def declare(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--mark", default="")
        parser.add_argument("--marks", nargs="*")
        parser.add_argument("--choice", choices=["--", "-"])
        parser.add_argument("rest", nargs="*")

    parser = command_parser("manage.py arun fetch", "Fetch.", declare, acting([ITEMS, KEPT]), shell=shell)
    options = parser.parse_args(["--mark=--", "--marks=--", "--choice=--", "--", "--mark=x"])
    assert (options.mark, options.marks, options.choice, options.rest) == ("--", ["--"], "--", ["--mark=x"])
