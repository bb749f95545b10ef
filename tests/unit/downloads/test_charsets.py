from __future__ import annotations

import encodings.aliases
import tracemalloc
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.downloads.decoding import charset_of, is_usable


@pytest.mark.parametrize(
    "name",
    [
        "utf-8",
        "UTF8",
        "latin-1",
        "iso-8859-15",
        "windows-1252",
        "us-ascii",
        "shift_jis",
        "sjis",
        "euc-jp",
        "euc-kr",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "koi8-r",
        "iso-2022-jp",
        "tis-620",
        "macintosh",
        "utf-16le",
        "ISO_8859-1:1987",
    ],
)
def test_charsets_of_the_web_are_usable(name: str) -> None:
    assert is_usable(name)


@pytest.mark.parametrize(
    "name",
    [
        "idna",
        "punycode",
        "zlib",
        "bz2",
        "hex",
        "base64",
        "rot13",
        "uu",
        "quopri",
        "unicode_escape",
        "raw_unicode_escape",
        "undefined",
        "utf-7",
        "mbcs",
        "",
        "\0",
        "no-such",
    ],
)
def test_other_codecs_are_not(name: str) -> None:
    assert not is_usable(name)


@pytest.mark.parametrize(
    "name", sorted({*encodings.aliases.aliases.values(), "cp65001", "idna", "punycode", "undefined"})
)
def test_whatever_is_usable_decodes_anything(name: str) -> None:
    if is_usable(name):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert isinstance(bytes(range(256)).decode(name, errors="replace"), str)


def test_the_charset_of_a_content_type() -> None:
    assert charset_of(b"text/html") is None
    assert charset_of(b'text/html; charset="UTF-8"; x=y') == "UTF-8"
    assert charset_of(b"text/html; Charset=idna") == "idna"
    assert charset_of(b"text/html; charset*=zlib''x") == ""
    assert charset_of(b"text/html;charset=" + b"x" * 10_000) == ""
    assert not is_usable("")


@given(st.binary(max_size=60))
def test_no_content_type_is_too_odd(odd: bytes) -> None:
    assert isinstance(charset_of(b"text/html; charset=" + odd), str)


def size_of_what_is_remembered() -> int:
    return len(encodings._cache)


def test_servers_cannot_fill_what_is_remembered_of_charsets() -> None:
    before = size_of_what_is_remembered()
    for number in range(2_000):
        names = (f"no-such-{number}", f"utf{'_' * (number % 30)}8", f"{'.' * (number % 30)}utf-8", f"codecs.{number}")
        for name in names:
            charset = charset_of(f"text/html; charset={name}; x={'y' * 1_000}{number}".encode())
            assert charset is not None
            is_usable(charset)
    assert size_of_what_is_remembered() - before < 50


def test_of_a_long_content_type_little_is_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(200):
            assert charset_of(b"text/html; charset=utf-8; x=%d" % number + b"z" * 60_000) == "utf-8"
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ("ISO_8859-1:1987", "ISO_8859-1:1987"),
        ("_utf-8", ""),
        ("utf--8", ""),
        ("utf-8_", ""),
        ("a" * 40, "a" * 40),
        ("a" * 41, ""),
        ("ütf-8", ""),
    ],
)
def test_a_name_of_a_charset_has_single_separators(declared: str, found: str) -> None:
    assert charset_of(f"text/html; charset={declared}".encode()) == found
