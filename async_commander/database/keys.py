"""Values of unique fields as the database will compare them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from contextlib import suppress
from decimal import ROUND_HALF_UP, Context, Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import BinaryField, DecimalField, ForeignKey
from django.db.models import Field as ModelField

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model

Key = tuple[Any, ...]


class _Unknown:
    """In the place of a value that only the database can compare, or knows at all."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()

_TEXT: Final = {"CharField", "TextField", "SlugField", "FileField", "FilePathField", "URLField", "EmailField"}
_WHOLE: Final = {
    "AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField",
    "PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField", "BooleanField",
}  # fmt: skip
_EXACT: Final[dict[str, tuple[type, ...]]] = dict.fromkeys(_WHOLE, (int,)) | {
    "UUIDField": (uuid.UUID, str),
    "DateField": (dt.date, str),
    "DateTimeField": (dt.datetime, str),
    "TimeField": (dt.time, str),
    "DurationField": (dt.timedelta, int),
}
"""Django's own types whose prepared values Python compares as every database does, by internal type."""

DOUBLE_DIGITS: Final = 15
"""Significant digits that SQLite, which keeps decimals as floating-point numbers, tells apart."""


def keys_of(
    connection: BaseDatabaseWrapper,
    model: type[Model],
    fields: Sequence[Field[Any, Any] | None],
    values: Sequence[Sequence[Any]],
) -> list[Key]:
    """The keys of rows, given as one row of prepared values each: equal where the database takes them for equal.

    None stands for NULL, UNKNOWN for what only the database can compare; so does a field that is None.
    """
    keys: list[list[Hashable]] = []
    for field, column in zip(fields, zip(*values, strict=True), strict=True):
        if field is None:
            keys.append([UNKNOWN] * len(column))
            continue
        target: Field[Any, Any] = field
        while isinstance(target, ForeignKey):
            target = target.target_field
        known = _comparison(connection, target)
        kept = [None if value is None else known(value) for value in column]
        if target.get_internal_type() in _TEXT:
            kept = _as_collated(connection, model, str(field.column), kept)
        keys.append(kept)
    return list(zip(*keys, strict=True))


def is_known(key: Key, *, nulls_equal: bool = False) -> bool:
    """Whether a key can be equal to another one, and is known before it is written."""
    return UNKNOWN not in key and (nulls_equal or None not in key)


def in_order(keyed: Iterable[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
    """By key, the same order in every process and whatever is beside it; what is not known comes last."""
    keyed = list(keyed)
    ranks: tuple[Callable[[tuple[Key, Any]], Any], ...] = (
        itemgetter(0),
        lambda pair: [(1, "") if value is None or value is UNKNOWN else (0, value) for value in pair[0]],
        lambda pair: repr(pair[0]),
    )
    for rank in ranks:
        with suppress(TypeError):  # NULL among them, or values that only the database can compare
            return sorted(keyed, key=rank)
    raise AssertionError("texts can be sorted")


def _comparison(connection: BaseDatabaseWrapper, field: Field[Any, Any]) -> Callable[[Any], Hashable]:
    """What makes of a prepared value one that Python compares as this field's column does."""
    kind = field.get_internal_type()
    if type(field).db_type is not ModelField.db_type:
        return lambda _: UNKNOWN  # a type of its own, with a comparison of its own
    if kind in _TEXT:
        longest = field.max_length or 2**31  # a longer one is refused, or cut
        return lambda value: value if isinstance(value, str) and len(value) <= longest else UNKNOWN
    if kind == "FloatField":
        return lambda value: value if isinstance(value, float) and value == value else UNKNOWN  # noqa: PLR0124  NaN
    if kind == "DecimalField":
        longest = DOUBLE_DIGITS if connection.vendor == "sqlite" else 2**31
        return lambda value: number if len((number := Decimal(value)).as_tuple().digits) <= longest else UNKNOWN
    if isinstance(field, BinaryField):
        return lambda value: bytes(getattr(value, "obj", value))  # psycopg wraps it
    types = _EXACT.get(kind, ())
    return lambda value: value if isinstance(value, types) else UNKNOWN


def rounded(field: Any, value: Any) -> Any:
    """A number with as many places as its column has, half away from zero, as the servers do; others as they are.

    SQLite would keep the other places, unseen: two rows of one key. No server finds a row by a number with more places.
    """
    if value is None or is_expression(value):
        return value
    number = field.to_python(value)
    context = Context(prec=max(number.adjusted(), 0) + field.decimal_places + 2, rounding=ROUND_HALF_UP)
    return number.quantize(Decimal(1).scaleb(-field.decimal_places), context=context)


def fitting(connection: BaseDatabaseWrapper, field: Any, value: Any) -> Any:
    """A prepared value. Raises ValueError for a decimal that SQLite would keep, and Django could not read there."""
    if (
        connection.vendor == "sqlite"
        and isinstance(field, DecimalField)
        and type(value) in (Decimal, str, int, float)
        and field.max_digits is not None
        and (number := rounded(field, value))
        and number.adjusted() >= field.max_digits - field.decimal_places
    ):
        raise ValueError(
            f"{field.model._meta.label}.{field.name}: {value} does not fit into max_digits={field.max_digits}, "
            f"decimal_places={field.decimal_places}."
        )
    return value


def is_expression(value: Any) -> bool:
    """Whether the database computes the value."""
    return type(value) not in PLAIN and hasattr(value, "resolve_expression")


PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types that are no expressions: a quick answer for most values."""


# --- text, which is compared as its column's collation says


class _Collation(NamedTuple):
    """How a column compares texts."""

    is_exact: bool
    """Whether only equal texts are equal for it."""
    rank: str
    """The SQL for the rank of a value `v` among others."""


_QUESTIONS: Final = {
    "postgresql": """
        SELECT attname, typname IN ('text', 'varchar') AND coalesce(collisdeterministic, TRUE),
            'v::' || format_type(atttypid, atttypmod)
            || CASE WHEN attcollation = 0 THEN '' ELSE ' COLLATE ' || attcollation::regcollation END
        FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
            LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped""",
    # Of several indexes, the one with a collation of its own; min() takes the row along.
    "sqlite": """
        SELECT parts.name, min(coll = 'BINARY'), 'v COLLATE "' || coll || '"'
        FROM pragma_index_list(%s) AS indexes, pragma_index_xinfo(indexes.name) AS parts
        WHERE indexes."unique" AND parts.key GROUP BY parts.name""",
    # A trailing blank counts for no other collation.
    "mysql": """
        SELECT column_name, collation_name LIKE '%%\\_nopad\\_bin' OR collation_name LIKE '%%\\_0900\\_bin',
            concat('CONVERT(v USING ', character_set_name, ') COLLATE ', collation_name)
        FROM information_schema.columns
        WHERE table_schema = database() AND table_name = %s AND collation_name IS NOT NULL""",
}
_GIVEN: Final = {
    "postgresql": "SELECT v, {rank} FROM unnest(%s::text[]) AS given(v)",
    "sqlite": "SELECT v, {rank} FROM (SELECT value AS v FROM json_each(%s))",
    "mysql": "WITH given(v) AS (VALUES {rows}) SELECT v, {rank} FROM given",
}

_collations: dict[tuple[str, str, type[Model]], dict[str, _Collation]] = {}


def _as_collated(connection: BaseDatabaseWrapper, model: type[Model], column: str, values: list[Any]) -> list[Any]:
    """Texts, or in their place numbers that are equal and in order as the texts are for the database."""
    place = connection.alias, str(connection.settings_dict["NAME"]), model
    found = _collations.get(place)
    if not found:  # asked once for each table
        found = _collations[place] = {}
        table = model._meta.db_table
        if connection.vendor in _QUESTIONS:
            with connection.cursor() as cursor:
                named = connection.ops.quote_name(table) if connection.vendor == "postgresql" else table
                cursor.execute(_QUESTIONS[connection.vendor], [named])
                for name, is_exact, value in cursor.fetchall():
                    found[name] = _Collation(bool(is_exact), f"DENSE_RANK() OVER (ORDER BY {value})")
    collation = found.get(column)
    if collation is not None and collation.is_exact:
        return values
    texts = sorted({value for value in values if isinstance(value, str)})
    if len(texts) < 2:
        return values
    if collation is None:
        return [None if value is None else UNKNOWN for value in values]
    row = "(%s)" if getattr(connection, "mysql_is_mariadb", False) else "ROW(%s)"
    sql = _GIVEN[connection.vendor].format(rank=collation.rank, rows=", ".join([row] * len(texts)))
    given: Any = {"postgresql": [texts], "sqlite": [json.dumps(texts)]}.get(connection.vendor, texts)
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        ranks = dict(cursor.fetchall())
    return [ranks.get(value, value) for value in values]
