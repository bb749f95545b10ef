"""Values of any kind as plain JSON without secrets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from .names import is_secret_name
from .redactor import HIDDEN, Redactor

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]++")
"""In the text of an object: it means nothing in another process."""
MOST_BITS = 14_000
"""Of an integer: Python makes no text of one that has 4,300 digits."""
VALUE_CAP = 20_000
"""Characters of JSON that are kept of a run's value."""


class PlainEncoder(DjangoJSONEncoder):
    """JSON of what arguments can be: dates, `Decimal` and `UUID` as their texts, a member of an `Enum` by its name."""

    def default(self, o: Any) -> Any:
        """See json.JSONEncoder."""
        return o.name if isinstance(o, Enum) else super().default(o)


def redacted_value(value: Any, redact: Redactor, *, shown: Collection[str] = ()) -> Any:
    """The same in plain JSON, without secrets: neither those that `redact` finds nor what stands under a secret name.

    The names of `shown`, in the outermost dict, are known to be none. What JSON has no form for becomes text, NaN and
    the infinities become null.
    """
    try:
        return _redacted(value, redact, shown)
    except RecursionError:
        return redact.within(text_of_value(value))


def text_of_value(value: Any, form: Callable[[Any], str] = repr) -> str:
    """The text of any value, also of one that has none."""
    try:
        return form(value)
    except BaseException:  # noqa: BLE001 - a value that cannot even be shown is no reason to fail the run
        return f"<{type(value).__name__}, whose text cannot be shown>"


def _redacted(value: Any, redact: Redactor, shown: Collection[str] = ()) -> Any:
    if isinstance(value, dict):
        return {
            redact.within(str(name)): HIDDEN
            if is_secret_name(str(name)) and name not in shown
            else _redacted(one, redact)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(one, redact) for one in value]
    if value is None or isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return value if isinstance(value, bool) else None
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"<an integer of {value.bit_length()} bits>"
    if isinstance(value, str | int | float):
        told = redact.within(str(value))
        return value if told == str(value) else told
    return redact.within(_shown(value))


def _shown(value: Any) -> str:
    try:
        return str(PlainEncoder().default(value))
    except TypeError:
        return text_of_value(value, str)


def kept_value(value: Any, redact: Redactor) -> tuple[Any, str]:
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


def _as_json(value: Any) -> tuple[str, str]:
    try:
        return json.dumps(value, cls=PlainEncoder, ensure_ascii=False, allow_nan=False), ""
    except Exception as error:  # noqa: BLE001 - whatever it is made of, a value is no reason to fail the run
        loss = (
            f"The run's value, of type {type(value).__name__}, cannot be kept as JSON "
            f"({ADDRESS.sub('', str(error))}): its text is kept in its place. "
            "Return what JSON can say: finite numbers, text, lists, dicts."
        )
    return json.dumps(ADDRESS.sub("", text_of_value(value)), ensure_ascii=False), loss
