"""Completion in the shells that are there: what a TAB brings."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Manage

NAMES = ["greet", "hookless", "jot", "missing", "report", "scrapers_block", "scrapers_fetch", "syntax", "tidy", "water"]

_IN_BASH = """
source <("$1" manage.py arun --completion bash)
COMP_WORDS=("${@:1}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _async_commander
printf '%s\\n' "${COMPREPLY[@]}"
"""
_IN_ZSH = """
compdef() { :; }
compadd() { shift; print -l -- $@; }
_files() { print files; }
_default() { print default; }
source <("$1" manage.py arun --completion zsh)
words=("$@"); CURRENT=$#words; _async_commander
"""
_IN_FISH = """
$argv[1] manage.py arun --completion fish | source
complete -c python3 -f
complete -C (string join ' ' -- $argv)
"""


def completed(manage: Manage, shell: str, *words: str) -> list[str]:
    """What there is to choose from when TAB is typed behind these words."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = {"bash": _IN_BASH, "zsh": _IN_ZSH, "fish": _IN_FISH}[shell]
    named = ["-c", script, *(["x"] if shell != "fish" else [])]
    line = [sys.executable if shell != "fish" else "python3", "manage.py", *words]
    shown = subprocess.run(
        [shell, *(["--no-config"] if shell == "fish" else []), *named, *line],
        cwd=manage.project,
        env=manage._environment({"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(manage.project)}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not shown.stderr, shown.stderr
    return [word.partition("\t")[0] for word in shown.stdout.splitlines() if word]


def test_names_come_without_an_import_and_options_of_the_one_that_is_named(manage: Manage) -> None:
    ended = manage("arun --complete ")
    assert ended.out.split() == NAMES
    assert manage("arun --complete shop.g").out.split() == ["shop.greet"]
    assert manage("arun --complete greet --ti").out.split() == ["--times", "--timeout"]
    assert "--threads" in manage("arun --complete --settings settings greet --").out.split()
    assert manage("arun --complete greet --progress pl").out.split() == ["plain"]
    assert manage("arun --complete greet --progress=pl").out.split() == ["--progress=plain"]
    for nothing in ("syntax --", "nobody --ti", "greet --times x", "greet Ann"):
        ended = manage(f"arun --complete {nothing}")
        assert (ended.code, ended.out, ended.err) == (0, "", ""), nothing


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_tab_in_the_shell(manage: Manage, shell: str) -> None:
    assert completed(manage, shell, "arun", "scrapers_") == ["scrapers_block", "scrapers_fetch"]
    assert sorted(completed(manage, shell, "arun", "greet", "--ti")) == ["--timeout", "--times"]


def test_bash_makes_three_words_of_an_option_with_its_value(manage: Manage) -> None:
    assert completed(manage, "bash", "arun", "greet", "--progress", "=", "ba") == ["bar"]
    assert completed(manage, "bash", "runserver", "") == []


def test_an_unknown_shell_is_refused(manage: Manage) -> None:
    ended = manage("arun --completion tcsh")
    assert ended.code == 2
    assert "bash" in ended.err
