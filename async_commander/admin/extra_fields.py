"""What `add_arguments()` of a command adds, as fields of a form. argparse itself reads what was filled in."""

from __future__ import annotations

from argparse import OPTIONAL, SUPPRESS, Action, ArgumentError, BooleanOptionalAction
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from async_commander.command.inside_argparse import (
    actions_of,
    adds_up,
    appends,
    exclusive_groups_of,
    help_of,
    is_flag,
    is_help,
    opens_a_file,
    stores,
    verbs_of,
)
from async_commander.command.parser import RefusedError, own_parser
from async_commander.text.names import is_secret_name

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand

MOST_CHOICES = 500
MOST_TIMES = 9
EITHER = (("", "–"), ("true", _("yes")), ("false", _("no")))
NUMBERS = {
    int: {"type": "number", "step": "1"},
    float: {"type": "number", "step": "any"},
    Decimal: {"type": "number", "step": "any"},
}


class ExtraFields:
    """The fields, by names of their own; and what a form cannot show, each with the reason."""

    def __init__(self, command: type[AsyncCommand]) -> None:
        self._parser = own_parser(command)
        self._actions: dict[str, Action] = {}
        self.fields: dict[str, forms.Field] = {}
        self.left_out: list[tuple[str, str]] = []
        for action in actions_of(self._parser):
            if is_help(action) or action.help == SUPPRESS:
                continue
            if reason := _unfit(action):
                self.left_out.append((_spelling(action), reason))
                continue
            name = f"extra-{_spelling(action).lstrip('-')}"
            self._actions[name], self.fields[name] = action, _field_of(action)

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values by their names, of those fields that were filled in. `forms.ValidationError` by field otherwise.

        What is missing is not for this to say: it may have test values.
        """
        for action in actions_of(self._parser):
            action.required = False
        for group in exclusive_groups_of(self._parser):
            group.required = False
        options, positions, last = list[str](), list[str](), ""
        for name, action in self._actions.items():
            words = _words(action, given.get(name))
            if action.option_strings:
                options += words
                continue
            if words and last:
                raise forms.ValidationError(
                    {last: gettext("It comes before another one that is given: fill it in, too.")}
                )
            positions += words
            last = "" if words else name
        self._parser.exit_on_error = False
        try:
            read = vars(self._parser.parse_args([*options, *(["--", *positions] if positions else [])]))
        except ArgumentError as error:
            field = next((name for name, each in self._actions.items() if _told_as(each) == error.argument_name), None)
            raise forms.ValidationError({field or NON_FIELD_ERRORS: error.message}) from None
        except RefusedError as error:
            raise forms.ValidationError({NON_FIELD_ERRORS: str(error)}) from None
        return {
            action.dest: read[action.dest] for name, action in self._actions.items() if _words(action, given.get(name))
        }


def _unfit(action: Action) -> str:
    """Why a form cannot ask for it; empty where it can."""
    if verbs_of(action):
        return gettext("it chooses among sub-commands")
    if is_secret_name(action.dest):
        return gettext("no queue keeps a secret")
    if opens_a_file(action) or action.type in (open, PurePath) or _is_path(action.type):
        return gettext("it names a file of the server; an argument `file: Path` takes one that is uploaded")
    if not (stores(action) or appends(action) or is_flag(action) or adds_up(action) or _is_either(action)):
        return gettext("it is read by code of its own")
    if appends(action) == "lists" or not (
        action.nargs is None or isinstance(action.nargs, int) or action.nargs in "?*+"
    ):
        return gettext("it takes what a field cannot hold")
    return ""


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)


def _is_either(action: Action) -> bool:
    return type(action) is BooleanOptionalAction


def _is_list(action: Action) -> bool:
    return bool(appends(action)) or action.nargs not in (None, OPTIONAL)


def _spelling(action: Action) -> str:
    """The longest one, which says most; of a position the name of its value."""
    if not action.option_strings:
        return action.dest
    return action.option_strings[0] if _is_either(action) else max(action.option_strings, key=len)


def _told_as(action: Action) -> str:
    """How argparse names it in an error."""
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def _choices(action: Action) -> list[str]:
    """Their texts, where these say all: each is read as the choice that it is."""
    if action.choices is None or len(action.choices) > MOST_CHOICES:  # type: ignore[arg-type]  # "a container", says argparse
        return []
    read: Any = action.type or str
    try:
        return [str(one) for one in action.choices] if all(read(str(one)) == one for one in action.choices) else []
    except Exception:  # noqa: BLE001 - whatever the author's function raises: the value is typed then
        return []


def _field_of(action: Action) -> forms.Field:
    told: dict[str, Any] = {
        "label": _spelling(action).lstrip("-").replace("-", " ").replace("_", " "),
        "required": action.required and action.nargs not in ("*", "?"),
        "help_text": help_of(action),
    }
    if is_flag(action):
        return forms.BooleanField(**told | {"required": False})
    if _is_either(action):
        initial = "" if action.default is None else str(bool(action.default)).lower()
        return forms.ChoiceField(**told, choices=EITHER, initial=initial)
    if adds_up(action):
        return forms.IntegerField(**told, min_value=0, max_value=MOST_TIMES)
    if _is_list(action):
        return _list_field(action, told)
    default = None if action.default in (None, SUPPRESS) else action.default
    if choices := _choices(action):
        none = [] if default is not None else [("", "–")]
        return forms.ChoiceField(**told, choices=[*none, *((one, one) for one in choices)], initial=str(default or ""))
    attributes = NUMBERS.get(action.type, {}) if isinstance(action.type, type) else {}
    return forms.CharField(**told, widget=forms.TextInput(attributes), initial="" if default is None else str(default))


def _list_field(action: Action, told: dict[str, Any]) -> forms.Field:
    default = () if action.default in (None, SUPPRESS) else action.default
    lines = [default] if isinstance(default, str) else [str(one) for one in default]
    if choices := _choices(action):
        return forms.MultipleChoiceField(**told, choices=[(one, one) for one in choices], initial=lines)
    lines_told = gettext("(one a line)")
    if isinstance(action.nargs, int):
        lines_told = gettext("(%(number)s of them, one a line)") % {"number": action.nargs}
    told["help_text"] = f"{told['help_text']} {lines_told}".strip()
    return forms.CharField(**told, widget=forms.Textarea({"rows": 4}), initial="\n".join(lines))


def _words(action: Action, given: Any) -> list[str]:
    """What is typed for a value of the form; nothing for one that is not given."""
    if given in (None, "", False, []):
        return []
    spelling = _spelling(action)
    if is_flag(action) or adds_up(action):
        return [spelling] * int(given)
    if _is_either(action):
        return [action.option_strings[0 if given == "true" else -1]]
    values = given if isinstance(given, list) else [given]
    if _is_list(action) and isinstance(given, str):
        values = [line.strip() for line in given.splitlines() if line.strip()]
    if not action.option_strings:
        return values
    one_by_one = action.nargs is None or action.nargs == OPTIONAL
    return [f"{spelling}={value}" for value in values] if one_by_one else [spelling, *values]
