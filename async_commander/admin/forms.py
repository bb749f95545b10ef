"""A form for the run of a command: its typed arguments, and the shared options that have an effect on it."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.files.storage import InvalidStorageError, storages
from django.utils.text import get_valid_filename
from django.utils.translation import gettext, gettext_noop

from async_commander.command.arguments import REQUIRED
from async_commander.command.declaration import declaration_of
from async_commander.command.options import BY_NAME, SHARED
from async_commander.conf import get_settings
from async_commander.history.orders import acting_bounds
from async_commander.templatetags.async_commander_pages import in_words
from async_commander.text.durations import duration_in

from .extra_fields import EITHER, ExtraFields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from async_commander.command.arguments import Argument
    from async_commander.command.base import AsyncCommand
    from async_commander.command.options import SharedOption
    from async_commander.models import Run

OFFERED = (
    "threads", "max_items", "per_second", "per_host", "item_timeout", "timeout", "max_failures", "processes",
    "batch_size", "delete", "force", "test", "ignore_dependencies", "run_dependencies", "refresh_cache",
)  # fmt: skip
"""Shared options that mean something to a run that a worker carries, in the order of the form."""
FOLDER = "async_commander"
_INPUTS: dict[str, dict[str, str]] = {
    int.__name__: {"type": "number", "step": "1"},
    float.__name__: {"type": "number", "step": "any"},
    Decimal.__name__: {"type": "number", "step": "any"},
    date.__name__: {"type": "date"},
    datetime.__name__: {"type": "datetime-local", "step": "1"},
}
"""How the browser asks for a value of a type; any other one is a line of text."""


class RunForm(forms.Form):
    """What a command is run with. After `is_valid()`, `values` are keywords of `ac.dispatch()`."""

    def __init__(self, command: type[AsyncCommand], data: Any = None, files: Any = None) -> None:
        super().__init__(data, files, label_suffix="")
        declared = declaration_of(command)
        self.arguments = {f"arg-{name}": each for name, each in declared.arguments.items()}
        self.options = {
            f"option-{option.name}": option
            for option in sorted(SHARED, key=_place)
            if option.name in OFFERED and option.acts_on(declared.features)
        }
        self._extra = ExtraFields(command) if declared.extra else None
        self.values: dict[str, Any] = {}
        self.kept: list[str] = []
        """Files that were uploaded, by their names in the storage."""
        for name, argument in self.arguments.items():
            self.fields[name] = _field_of(argument)
        self.fields |= self._extra.fields if self._extra else {}
        for name, option in self.options.items():
            self.fields[name] = _option_field(option, command)

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """What `add_arguments()` adds and cannot be given here, each with the reason."""
        return self._extra.left_out if self._extra else []

    def of_arguments(self) -> Iterator[forms.BoundField]:
        """The fields of its arguments, and of what `add_arguments()` adds."""
        return (self[name] for name in self.fields if name not in self.options)

    def of_options(self) -> Iterator[forms.BoundField]:
        """The fields of the shared options, which are folded away."""
        return (self[name] for name in self.options)

    @property
    def options_are_wrong(self) -> bool:
        """Whether one of them has an error: then they are not folded."""
        return any(name in self.errors for name in self.options)

    def clean(self) -> dict[str, Any]:
        """Read each value as the command line would. Files are kept where all else fits."""
        cleaned: dict[str, Any] = super().clean() or {}
        given = {
            name: value
            for name, value in cleaned.items()
            if name not in self.errors and value not in (None, "", [], False)
        }
        given |= {name: False for name in self.arguments if cleaned.get(name) is False}
        files = {name: given.pop(name) for name, each in self.arguments.items() if name in given and _is_file(each)}
        for name, value in given.items():
            try:
                if name in self.arguments:
                    self.values[self.arguments[name].name] = _value_of(self.arguments[name], value)
                elif name in self.options:
                    self.values[self.options[name].name] = _option_value(self.options[name], value)
            except ValueError as error:
                self.add_error(name, str(error))
        if self._extra:
            changed = given.keys() & self._extra.fields.keys() & {*self.changed_data}
            try:
                self.values |= self._extra.read({name: given[name] for name in changed})
            except forms.ValidationError as error:
                self.add_error(None, error)
        if not self.errors:
            for name, upload in files.items():
                argument, path = self.arguments[name], self._kept(name, upload)
                self.values[argument.name] = [path] if argument.kind.members else path
        return cleaned

    def forget_files(self) -> None:
        """No run was begun that would read them."""
        for name in self.kept:
            storages[get_settings().uploads].delete(name)

    def _kept(self, name: str, upload: Any) -> str | None:
        try:
            storage = storages[get_settings().uploads]
            kept = storage.save(f"{FOLDER}/{uuid.uuid4().hex}/{get_valid_filename(upload.name)}", upload)
            self.kept.append(kept)
            return storage.path(kept)
        except (InvalidStorageError, NotImplementedError) as error:
            told = gettext("%(setting)s has to name a storage of files on this machine: %(error)s")
            self.add_error(name, told % {"setting": "ASYNC_COMMANDER['UPLOADS']", "error": error})
            return None


class LimitsForm(forms.Form):
    """The bounds of a run at work that may be changed, with the values that hold now; an empty field is no limit.

    After `is_valid()`, `values` are keywords of `change_limits()`: those that differ from what the page showed, so that
    a change that somebody else has made meanwhile stays.
    """

    def __init__(self, run: Run, data: Any = None) -> None:
        super().__init__(data, label_suffix="")
        self.values: dict[str, Any] = {}
        for name in acting_bounds(run):
            option, value = BY_NAME[name], run.limits.get(name)
            empty = "" if option.lacks(None) else gettext("; empty for no limit")
            self.fields[name] = forms.CharField(
                label=name.replace("_", " "),
                required=False,
                help_text=f"{in_words(option.help)}{in_words(_WRITTEN.get(option.written or '', ''))}{empty}",
                initial=_as_typed(value),
                show_hidden_initial=True,
            )

    def clean(self) -> dict[str, Any]:
        """Read what was changed as the command line would."""
        cleaned: dict[str, Any] = super().clean() or {}
        for name in self.changed_data:
            try:
                self.values[name] = _option_value(BY_NAME[name], cleaned[name] or None)
            except ValueError as error:
                self.add_error(name, str(error))
        if not self.changed_data:
            raise forms.ValidationError(gettext("All limits are as they were: change one of them."))
        return cleaned


_WRITTEN = {"TIME": gettext_noop(", as 90, 90s, 5m or 1h30m")}


def _as_typed(value: Any) -> str:
    """The value of a bound as somebody would type it."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _place(option: SharedOption) -> int:
    return OFFERED.index(option.name) if option.name in OFFERED else len(OFFERED)


def _is_file(argument: Argument) -> bool:
    return (argument.kind.members or argument.kind).name == Path.__name__ and not argument.choices


def _value_of(argument: Argument, given: Any) -> Any:
    if isinstance(given, bool):
        return argument.accept(given)
    if argument.kind.members is not None and isinstance(given, str):
        return argument.accept_text([line.strip() for line in given.splitlines() if line.strip()])
    return argument.accept_text(given)


def _field_of(argument: Argument) -> forms.Field:
    """How a value of this argument is asked for."""
    kind, several = argument.kind.members or argument.kind, argument.kind.members is not None
    given = None if argument.required or argument.secret else argument.to_json(argument.default)
    told: dict[str, Any] = {
        "label": argument.name.replace("_", " "),
        "required": argument.required and argument.from_env() is REQUIRED,
        "help_text": argument.option.help
        or ("" if argument.choices or kind.name == bool.__name__ else in_words(kind.allowed)),
        "initial": given,
    }
    made: type[forms.Field] = forms.CharField
    if argument.secret:
        env = argument.option.env
        told |= {"widget": forms.PasswordInput(attrs={"autocomplete": "off"}), "disabled": True, "required": False}
        told["help_text"] = gettext("No queue keeps a secret: only Option(env=…) brings it to the workers")
        if env:
            told["help_text"] = gettext("No queue keeps a secret: the workers take it from %(variable)s") % {
                "variable": env
            }
    elif _is_file(argument):
        made, told["initial"] = forms.FileField, None
        if not get_settings().uploads:
            told |= {
                "disabled": True,
                "help_text": gettext("No file is taken: %(setting)s names no storage for it")
                % {"setting": 'ASYNC_COMMANDER["UPLOADS"]'},
            }
    elif argument.choices:
        made = forms.MultipleChoiceField if several else forms.ChoiceField
        none = [] if several or given is not None else [("", "–")]
        told["choices"] = [*none, *((each, each) for each in argument.choices)]
    elif several:
        told |= {"widget": forms.Textarea({"rows": 4}), "initial": "\n".join(map(str, given or ()))}
        told["help_text"] += gettext("; one a line")
    elif kind.name == bool.__name__ and (argument.kind.optional or argument.required):
        made = forms.ChoiceField
        told |= {"choices": EITHER, "initial": "" if given is None else str(given).lower()}
    elif kind.name == bool.__name__:
        made, told["required"] = forms.BooleanField, False
    else:
        told["widget"] = forms.TextInput(attrs=_INPUTS.get(kind.name, {}))
    return made(**told)


def _option_field(option: SharedOption, command: type[AsyncCommand]) -> forms.Field:
    label, told = option.name.replace("_", " "), in_words(option.help)
    default = command.option_defaults.get(option.name)
    if option.written == "":
        return forms.BooleanField(label=label, required=False, help_text=told, initial=bool(default))
    return forms.CharField(label=label, required=False, help_text=told, initial=default)


def _option_value(option: SharedOption, given: Any) -> Any:
    """As the command line reads it. ValueError says what is needed."""
    value: Any = given
    try:
        if given is None:
            pass
        elif option.written in ("N", "ID"):
            value = int(given)
        elif option.written == "TIME":
            value = duration_in(given).total_seconds()
        elif option.written == "RATE":
            value = float(given)
    except ValueError:
        raise ValueError(f"found {given!r:.80}: {option.lacks(given) or option.needed}") from None
    if lacking := option.lacks(value):
        raise ValueError(lacking if given is None else f"found {given!r:.80}: {lacking}")
    return value
