"""Data frames are kept as they are, alone and in lists."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import polars as pl
import pytest

from async_commander.cache.codecs import pack

FRAME = pd.DataFrame(
    {
        "name": ["a", None, "c"],
        "count": [1, 2, 3],
        "share": [0.1, math.nan, 1e300],
        "at": pd.to_datetime(["2026-01-01", "2026-01-02", None]),
        "new": [True, False, True],
        "mixed": pd.Series([1, "x", None], dtype=object),
    }
)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.set_index("name"),
        FRAME.set_index("at"),
        FRAME.iloc[::-1],
        FRAME[:0],
        pd.DataFrame([[1, 2.5], [3, 4.5]]),
        pd.read_csv(io.StringIO("field,value\nname,Bob\nage,\n")),
    ],
    ids=["all", "index of texts", "index of times", "turned around", "empty", "numbered", "csv"],
)
def test_a_frame_of_pandas_comes_back_exactly(frame: Any) -> None:
    for value, back in ((frame, pack(frame).value()), (frame, pack([frame, {"$pandas": 1}]).value()[0])):
        pd.testing.assert_frame_equal(value, back, check_exact=True, check_column_type=False, check_freq=False)


@pytest.mark.parametrize(
    ("frame", "remedy"),
    [
        (FRAME.assign(kind=pd.Categorical(["a", "b", "a"])), "the column 'kind' of the type category"),
        (FRAME.set_index(["name", "count"]), r"\.reset_index\(\) makes columns of them"),
        (pd.DataFrame({("a", 1): [1]}), "give columns texts as names"),
        (pd.DataFrame({"it": [object()]}), r"a object in the column 'it'; \.astype\(str\)"),
    ],
)
def test_a_frame_without_a_form_is_refused_with_the_remedy(frame: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        pack(frame)


def test_frames_of_polars_may_be_in_a_list() -> None:
    frame = pl.DataFrame({"n": [1, None], "list": [[1], []]})
    packed = pack({"rows": [frame, (1, 2)]})
    assert packed.is_readable
    assert packed.value()["rows"][0].equals(frame)
    assert packed.value()["rows"][1] == (1, 2)
    with pytest.raises(TypeError, match="Python objects in o"):
        pack([pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)})])
