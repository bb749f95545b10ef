"""A kept result as bytes: nothing that was changed is taken for a result."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.cache.codecs import pack
from async_commander.cache.entries import Damaged, Entry, from_bytes, to_bytes

KEY = "ab" * 32
FLIPS = 10_000


def entry(value: Any = "what was downloaded", key: str = KEY) -> Entry:
    return Entry(key=key, command="fetch", function="shop.Command.download", created=1.5, packed=pack(value))


def test_what_was_written_is_read() -> None:
    assert from_bytes(to_bytes(entry()), KEY) == entry()


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    raw, chance = to_bytes(entry()), random.Random(16)
    damaged = [raw[:length] for length in range(len(raw))] + [raw + b"x", b"", b"\0" * len(raw)]
    for _ in range(FLIPS - len(damaged)):
        changed = bytearray(raw)
        for _ in range(chance.choice([1, 1, 1, 2, 8])):
            changed[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(changed))
    for one in damaged:
        if one == raw:
            continue
        with pytest.raises(Damaged):
            from_bytes(one, KEY)


def test_an_entry_under_another_key_is_none() -> None:
    with pytest.raises(Damaged, match="another key"):
        from_bytes(to_bytes(entry()), "cd" * 32)


def test_what_somebody_else_has_written_is_none_and_a_rotated_secret_is_no_loss(settings: Any) -> None:
    raw, before = to_bytes(entry()), settings.SECRET_KEY
    settings.SECRET_KEY = "another one"
    with pytest.raises(Damaged, match="another SECRET_KEY"):
        from_bytes(raw, KEY)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert from_bytes(raw, KEY) == entry()


@given(st.binary(max_size=300))
def test_anything_at_all_raises_damaged_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(Damaged):
        from_bytes(raw, KEY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.sampled_from(["$tuple", "$dict", "a"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_every_value_of_json_and_every_tuple_comes_back(value: Any) -> None:
    assert repr(pack(value).value()) == repr(value)
