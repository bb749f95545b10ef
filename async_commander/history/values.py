"""The value that a run came to, as it is kept."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from async_commander.command.redaction import HIDDEN, is_secret_name

VALUE_CAP = 20_000
"""Characters of JSON that are kept of a run's value."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def kept_value(value: Any, redact: Callable[[str], str]) -> tuple[Any, str]:
    """A run's value as JSON, redacted and capped, and a sentence about what of it is lost; empty where nothing is.

    What JSON cannot say is kept as its text, without the addresses of objects, which mean nothing afterwards.
    """
    text, loss = _as_json(value)
    kept = redacted_value(json.loads(text), redact)
    text = json.dumps(kept, ensure_ascii=False)
    if len(text) > VALUE_CAP:
        lost = f"The run's value is {len(text)} characters of JSON; the first {VALUE_CAP} of them are kept, as text."
        return f"{text[:VALUE_CAP]}… ({len(text)} characters)", f"{loss} {lost}".strip()
    return kept, loss


def redacted_value(value: Any, redact: Callable[[str], str], *, shown: Collection[str] = ()) -> Any:
    """The same in plain JSON, without secrets: neither those that `redact` finds nor what stands under a secret name.

    The names of `shown`, in the outermost dict, are known to be none. What JSON has no form for becomes text, NaN and
    the infinities become null.
    """
    try:
        return _redacted(value, redact, shown)
    except RecursionError:
        return redact(_text_of(value))


def _redacted(value: Any, redact: Callable[[str], str], shown: Collection[str] = ()) -> Any:
    if isinstance(value, dict):
        return {
            redact(str(name)): HIDDEN if is_secret_name(str(name)) and name not in shown else _redacted(one, redact)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(one, redact) for one in value]
    if value is None or isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return value if isinstance(value, bool) else None
    if isinstance(value, str | int | float):
        told = redact(str(value))
        return value if told == str(value) else told
    return redact(_shown(value))


def _as_json(value: Any) -> tuple[str, str]:
    try:
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False), ""
    except Exception as error:  # noqa: BLE001 - whatever it is made of, a value is no reason to fail the run
        loss = (
            f"The run's value, of type {type(value).__name__}, cannot be kept as JSON "
            f"({_ADDRESS.sub('', str(error))}): its text is kept in its place. "
            "Return what JSON can say: finite numbers, text, lists, dicts."
        )
    return json.dumps(_ADDRESS.sub("", _text_of(value)), ensure_ascii=False), loss


def _shown(value: Any) -> str:
    try:
        return str(DjangoJSONEncoder().default(value))
    except TypeError:
        return _text_of(value, str)


def _text_of(value: Any, form: Callable[[Any], str] = repr) -> str:
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - a value that cannot even be shown is no reason to fail the run
        return f"<{type(value).__name__}, whose text cannot be shown>"
