"""Rows that stand for the same thing, merged into the first of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from .polars_extra import pl

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUP = "__group__"


def merged(
    frame: pl.DataFrame, subsets: Sequence[Sequence[str]], summed: Sequence[str]
) -> tuple[pl.DataFrame, dict[int, list[int]]]:
    """The first row of each group, in their order, with the sums of these columns over the group.

    Rows belong together where they have the same values in one of the subsets, or are connected by others that do: so
    the order of the subsets does not matter. Null equals nothing. A sum of nulls is null. Returns also which rows were
    merged into which one, by their positions in the frame.
    """
    if frame.is_empty():
        return frame, {}
    first = list(range(len(frame)))  # a forest, in which each row points to an earlier one of its group, or to itself

    def root(row: int) -> int:
        while first[row] != row:
            first[row] = first[first[row]]
            row = first[row]
        return row

    for names in subsets:
        seen: dict[object, int] = {}
        for row, key in enumerate(frame.select(names).iter_rows()):
            if None not in key:
                one, other = sorted((root(seen.setdefault(key, row)), root(row)))
                first[other] = one
    groups = [root(row) for row in range(len(frame))]
    into: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        if row != group:
            into[group].append(row)
    grouped = frame.with_columns(pl.Series(_GROUP, groups, dtype=pl.UInt32))
    kept = grouped.unique(_GROUP, keep="first", maintain_order=True)
    if summed and into:
        sums = grouped.group_by(_GROUP).agg(
            pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).cast(frame.schema[name]).alias(name)
            for name in summed
        )
        kept = kept.drop(summed).join(sums, on=_GROUP, how="left", maintain_order="left")
    return kept.select(frame.columns), into
