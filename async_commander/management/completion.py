"""Completion in the shell: the scripts, and what they ask for at each TAB."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from async_commander.command.inside_argparse import actions_of, spellings_of
from async_commander.command.registry import get_runnable

from .parsers import split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .parsers import CommandLineParser

COMPLETE = "--complete"
"""Behind it comes the line so far, the last word being the one that is to be completed. Answers one a line."""

_BASH = r"""
# Completion of `manage.py arun`. In ~/.bashrc, or once: source <(python manage.py arun --completion bash)
_async_commander() {
    local at words IFS=$'\n'
    for ((at = 1; at < COMP_CWORD; at++)); do [[ ${COMP_WORDS[at]} == arun ]] && break; done
    COMPREPLY=()
    if ((at >= COMP_CWORD)); then
        declare -F _django_completion > /dev/null && _django_completion
        return
    fi
    words=("${COMP_WORDS[@]:at+1:COMP_CWORD-at}")
    COMPREPLY=($("${COMP_WORDS[@]:0:at+1}" --complete "${words[@]}" 2> /dev/null))
}
complete -o default -F _async_commander manage.py ./manage.py django-admin
for _word in python python3; do
    complete -p $_word &> /dev/null || complete -o default -F _async_commander $_word
done
unset _word
"""

_ZSH = r"""
# Completion of `manage.py arun`. In ~/.zshrc, behind compinit: source <(python manage.py arun --completion zsh)
_async_commander() {
    local at=${words[(i)arun]}
    local -a found
    if ((at >= CURRENT)); then
        _default
        return
    fi
    found=(${(f)"$(${words[1,at]} --complete "${(@)words[at+1,CURRENT]}" 2> /dev/null)"})
    if ((${#found})); then compadd -- $found; else _files; fi
}
compdef _async_commander manage.py ./manage.py django-admin python python3
"""

_FISH = r"""
# Completion of `manage.py arun`. In ~/.config/fish/config.fish: python manage.py arun --completion fish | source
function __async_commander_there
    contains -- arun (commandline -opc)
end
function __async_commander_found
    set -l words (commandline -opc)
    set -l at (contains -i -- arun $words)
    $words[1..$at] --complete $words[(math $at + 1)..-1] (commandline -ct) 2> /dev/null
end
for word in manage.py django-admin python python3
    complete -c $word -n __async_commander_there -a '(__async_commander_found)'
end
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""By shell: what is to be sourced."""


def completed(
    words: Sequence[str], front: CommandLineParser, parser_of: Callable[[str], CommandLineParser]
) -> Iterator[str]:
    """What the last one of `words`, all those behind `arun`, may become. Imports no command but the one that is named.

    Nothing where that is the shell's to say: a file's name.
    """
    *before, current = [word for word in words if word != "="] or [""]  # bash makes three words of --option=value
    if words and words[-1] == "=":
        before, current = [*before, current], ""
    valued = {flag for flag, action in spellings_of(front).items() if action.nargs != 0}
    name, _ = split_name(before, valued)
    parser = front if name is None else parser_of(name)
    option, is_joined, value = current.partition("=")
    if is_joined and option in spellings_of(parser):
        yield from (f"{option}={one}" for one in _choices(spellings_of(parser)[option]) if one.startswith(value))
        return
    last = spellings_of(parser).get(before[-1]) if before else None
    if last is not None and last.nargs != 0:
        found = _choices(last)
    elif current.startswith("-"):
        found = _options(parser, before, rare=len(current) > len("--"))
    elif name is None:
        found = _names(full="." in current)
    else:
        found = [one for action in actions_of(parser) if not action.option_strings for one in _choices(action)]
    yield from (one for one in found if one.startswith(current))


def _names(*, full: bool) -> list[str]:
    runnable = get_runnable()
    return sorted({file.full_name for file in runnable.values()} if full else runnable)


def _options(parser: CommandLineParser, before: Sequence[str], *, rare: bool) -> list[str]:
    """Those that are not given yet, in the spelling with dashes; rare ones once more than their dashes is typed."""
    given = {spellings_of(parser).get(word.partition("=")[0]) for word in before}
    hidden = set() if rare else {*parser.rare_names} - {*parser.own_names}
    return [
        flag
        for action in actions_of(parser)
        if action not in given and action.dest not in hidden and action.help != argparse.SUPPRESS
        for flag in action.option_strings
        if flag.startswith("--") and "_" not in flag
    ]


def _choices(action: argparse.Action) -> list[str]:
    return [str(one) for one in action.choices or ()]
