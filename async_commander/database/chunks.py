"""Long lists in pieces that one statement takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.models import QuerySet

T = TypeVar("T")

PARAMETERS = 500
"""Of one statement: below every backend's limit, that of an SQLite of long ago included."""
STEP = 1000
"""Rows that are written or deleted at once, where nothing else is said."""
SERVER_PARAMETERS = 2**16 - 1
"""What PostgreSQL takes of a statement whose parameters it binds itself."""


def chunks(values: Sequence[T], size: int = PARAMETERS) -> Iterator[Sequence[T]]:
    """The values in their order, at most `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def check_step(step: int) -> None:
    """ValueError for what is no number of rows."""
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        raise ValueError(f"step={step!r}: at least 1 row at a time")


def is_paged(queryset: QuerySet[Any, Any]) -> bool:
    """Whether it can be read page by page, in the order of its keys: any other order would give it other rows."""
    query = queryset.query
    return not (query.is_sliced or query.combinator or query.distinct_fields)


def in_key_order(queryset: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    """The rows by rising primary key, also those of a queryset that was reversed: page by page, each by `pk__gt`."""
    by_key = queryset.order_by("pk")
    return by_key if by_key.query.standard_ordering else by_key.reverse()
