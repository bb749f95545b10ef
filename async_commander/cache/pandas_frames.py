"""Data frames of pandas as JSON: columns of numbers and times by their bytes, exactly; texts as they are."""

from __future__ import annotations

import math
import sys
from base64 import b64decode, b64encode
from importlib import import_module
from typing import Any

_BY_BYTES = "biufmM"
"""Kinds of numpy's types whose values are bytes of one length: numbers, times and stretches of time."""
_NAN = ["nan"]
"""Stands for NaN among Python objects."""


def is_frame(value: object) -> bool:
    """Whether this is a data frame of pandas, which is loaded then."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def frame_to_json(frame: Any) -> dict[str, Any]:
    """A data frame as JSON. TypeError for what has no form: a MultiIndex, a column of other objects."""
    names = list(frame.columns)
    if unfit := [name for name in names if type(name) not in (str, int)]:
        raise TypeError(f"found a data frame with the column {unfit[0]!r:.80}; give columns texts as names")
    index = frame.index
    if getattr(index, "nlevels", 1) > 1:
        raise TypeError("found a data frame with an index of several levels; .reset_index() makes columns of them")
    if type(index).__name__ == "RangeIndex":
        rows: Any = [index.start, index.stop, index.step]
    else:
        rows = _series_to_json("the index", index.to_series())
    columns = [_series_to_json(f"the column {name!r}", frame.iloc[:, place]) for place, name in enumerate(names)]
    return {"names": names, "rows": rows, "rows_name": index.name, "columns": columns}


def frame_from_json(stored: dict[str, Any]) -> Any:
    """The data frame again."""
    pd: Any = import_module("pandas")
    rows = stored["rows"]
    index = pd.RangeIndex(*rows) if isinstance(rows, list) else pd.Index(_values_from_json(rows))
    columns = [pd.Series(_values_from_json(column), index=index) for column in stored["columns"]]
    frame = pd.DataFrame(dict(enumerate(columns)), index=index)
    frame.columns = pd.Index(stored["names"])
    frame.index.name = stored["rows_name"]
    return frame


def _series_to_json(where: str, series: Any) -> dict[str, Any]:
    kind = str(series.dtype)
    if getattr(series.dtype, "kind", "") in _BY_BYTES and type(series.dtype).__module__.startswith("numpy"):
        return {"dtype": kind, "bytes": b64encode(series.to_numpy().tobytes()).decode()}
    if kind not in ("object", "str", "string"):
        raise TypeError(f"found a data frame with {where} of the type {kind}; make numbers or texts of it by .astype()")
    values: list[Any] = []
    for value, missing in zip(series, series.isna(), strict=True):
        if not missing and type(value) not in (str, bool, int, float):
            raise TypeError(f"found a data frame with a {type(value).__name__} in {where}; .astype(str) makes texts")
        values.append(_NAN if _is_nan(value) else None if missing else value)
    return {"dtype": kind, "values": values}


def _is_nan(value: object) -> bool:
    return type(value) is float and math.isnan(value)


def _values_from_json(stored: dict[str, Any]) -> Any:
    np: Any = import_module("numpy")
    pd: Any = import_module("pandas")
    if "bytes" in stored:
        return np.frombuffer(b64decode(stored["bytes"]), dtype=stored["dtype"]).copy()
    return pd.array([math.nan if value == _NAN else value for value in stored["values"]], dtype=stored["dtype"])
