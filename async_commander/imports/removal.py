"""What `--delete` removes: rows that the source has no more."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import models

from async_commander import bulk
from async_commander.database.layout import concrete

from .polars_extra import pl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .loading import Objects


class Seen:
    """The rows that this process has loaded, by primary key: eight bytes for each whole number."""

    def __init__(self, removes: Iterable[type[models.Model]]) -> None:
        self._models = {concrete(model) for model in removes}
        self._keys: dict[type[models.Model], list[pl.Series]] = defaultdict(list)
        self.yielded: list[str] = []
        """The keys of the batches that the source has."""
        self.whole = False
        """The source was read to its end, which the retry of a failed batch can spare."""
        self.loaded: set[str] = set()
        """Of those, the ones whose rows are among these here: an earlier process may have loaded others."""

    def add(self, objects: Objects) -> None:
        """Rows that are in the source."""
        for model, some in objects.items():
            if concrete(model) in self._models and some:
                self._keys[concrete(model)].append(_series(obj.pk for obj in some))

    def remove_others(self, owned: models.QuerySet[Any]) -> int:
        """Delete all rows of a queryset that are not among these, with what cascades; all or none. Returns how many."""
        model, keys = concrete(owned.model), list(owned.order_by().values_list("pk", flat=True).iterator())
        there = _series(keys)
        seen = self._keys[model]
        if seen:
            here = pl.concat([one.cast(there.dtype) for one in seen])
            gone = there.to_frame("pk").with_row_index().join(here.to_frame("pk"), on="pk", how="anti")["index"]
            keys = [keys[position] for position in gone]
        if not keys:
            return 0
        _, counts = bulk.delete((model(pk=key) for key in keys), using=owned.db)
        return counts.get(model._meta.label, 0)


def _series(keys: Iterable[Any]) -> pl.Series:
    some = list(keys)
    if all(type(key) is int for key in some):
        return pl.Series("pk", some, dtype=pl.Int64)
    return pl.Series("pk", list(map(str, some)), dtype=pl.String)
