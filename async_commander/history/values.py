"""The value that a run came to, as it is kept."""

from __future__ import annotations

import json
from typing import Any

from async_commander.text.redactor import Redactor
from async_commander.text.values import ADDRESS, PlainEncoder, redacted_value, text_of_value

VALUE_CAP = 20_000
"""Characters of JSON that are kept of a run's value."""


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
