"""From bytes to content: decompression that never makes more than it was asked for, and charsets that never raise."""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import re
import zlib
from encodings.aliases import aliases
from functools import lru_cache
from typing import TYPE_CHECKING

from .errors import BadBody, BodyTooLarge, BodyTruncated
from .limits import PIECE, RATIO, RATIO_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zlib import _Decompress

_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"

SMALL_MEMBERS = 1_000
SMALL_MEMBER = 64
"""Bytes: so many gzip members may be smaller than that. One without content has 20."""

ACCEPTED = "gzip, deflate"
_DECODED = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_NOT_DECODED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "pack200-gzip", "exi"})
"""Compressions that are registered, and that are left to those who ask for them."""


def encoding_of(header: str, accepted: str = ACCEPTED) -> str | None:
    """The encoding in a Content-Encoding header that is to be decoded: "gzip", "deflate", or None.

    Names that stand for no compression (`identity`, `none`, `utf-8`, `aws-chunked`) leave a body as it is. So does one
    like `br` that the request asked for in its own Accept-Encoding, here `accepted`. BadBody where it did not, and for
    several layers at once, which only bombs use.
    """
    named = [part.strip().lower() for part in header[:1000].split(",")]
    known = [_DECODED[name] for name in named if name in _DECODED]
    strange = [name for name in named if name in _NOT_DECODED]
    if strange:
        asked = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
        if "*" not in asked and not asked.issuperset(strange):
            raise BadBody(f"Content-Encoding {header[:100]!r} was not asked for: {accepted[:100]!r} was")
        return None
    if len(known) > 1:
        raise BadBody(f"Content-Encoding {header[:100]!r}: one encoding is allowed, {len(known)} were found")
    return known[0] if known else None


class Inflater:
    """Decodes one gzip body (of any number of members) or one deflate body (with or without its zlib wrapper)."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream: _Decompress | None = None
        self._held = b""
        self._over = False
        self._members = 0
        self._taken = 0
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes of one more chunk, in pieces of at most 64 KiB, each made when it is asked for.

        BadBody for data that is not of this encoding; BodyTooLarge for more than 1 MiB made at more than 200:1.
        """
        self._taken += len(data)
        data, self._held = self._held + data, b""
        while data and not self._over:
            stream = self._stream
            if stream is None or stream.eof:
                data = self._begin(data)
            else:
                yield from self._run(stream, data)
                data = stream.unused_data if stream.eof else b""

    def _begin(self, data: bytes) -> bytes:
        """Choose the decompressor for what starts here by its first two bytes, which are waited for."""
        if len(data) < 2:
            self._held = data
            return b""
        if self._encoding == "gzip":
            self._over = self._stream is not None and not data.startswith(_GZIP_MAGIC)  # padding after the last member
            window = _GZIP
        else:
            self._over = self._stream is not None
            wrapped = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
            window = _ZLIB if wrapped else _RAW
        if not self._over:
            # Each member costs about 10 µs of the loop's time, also where there is nothing in it.
            self._members += 1
            if self._members > SMALL_MEMBERS and self._taken < self._members * SMALL_MEMBER:
                raise BadBody(
                    f"{self._members} gzip members in {self._taken} bytes: after {SMALL_MEMBERS} of them, at least "
                    f"{SMALL_MEMBER} bytes each are needed on average"
                )
            self._stream = zlib.decompressobj(window)
        return data

    def _run(self, stream: _Decompress, data: bytes) -> Iterator[bytes]:
        full = True
        while full or (data and not stream.eof):  # a full piece may leave output behind although the input is used up
            try:
                piece = stream.decompress(data, PIECE)
            except zlib.error as error:
                raise BadBody(f"the {self._encoding} body is broken: {error}") from error
            full = len(piece) == PIECE and not stream.eof
            data = stream.unconsumed_tail
            self._weigh(len(piece))
            if piece:
                yield piece

    def _weigh(self, made: int) -> None:
        self._made += made
        if self._made > RATIO_FROM and self._made > RATIO * self._taken:
            raise BodyTooLarge(
                f"{self._taken} bytes of {self._encoding} became {self._made}: "
                f"more than {RATIO}:1 is refused from {RATIO_FROM} bytes on"
            )

    def finish(self) -> None:
        """To be called at the end of the body: BodyTruncated where the compressed stream had not ended."""
        if self._taken and (self._stream is None or not self._stream.eof):
            raise BodyTruncated(
                f"the {self._encoding} body ends after {self._taken} bytes, before the end of its stream"
            )


_CHARSET = re.compile(
    r"""charset\s*=\s*["']?((?=[\w.:-]{1,40}+(?![\w.:-]))[a-z0-9]++(?:[_.:-][a-z0-9]++)*+)["']?\s*(?:;|$)""",
    re.IGNORECASE | re.ASCII,
)
"""Python remembers each spelling of a name: there are few with single separators."""

# Python also knows codecs that are none: `idna` and `punycode` raise or crawl, `zlib` inflates, `unicode_escape` warns.
_TEXT = re.compile(
    r"ascii|utf-8(-sig)?|utf-16(-[bl]e)?|utf-32(-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|kz1048|ptcp154|tis-620|hp-roman8"
    r"|big5(hkscs)?|gb2312|gbk|gb18030|hz|euc_(jp|kr|jis_2004|jisx0213)|shift_jis(_2004|x0213)?|iso2022_\w+|johab"
)


@lru_cache(maxsize=1)
def _codecs() -> frozenset[str]:
    """The modules of Python's codecs. To look up another one searches for a file, and Python remembers it for ever."""
    return frozenset({*aliases.values(), *(module.name for module in pkgutil.iter_modules(encodings.__path__))})


@lru_cache(maxsize=512)
def is_usable(name: str) -> bool:
    """Whether text can be decoded with this charset without ever raising, given `errors="replace"`."""
    module = encodings.normalize_encoding(name).lower()
    if aliases.get(module, module) not in _codecs() and aliases.get(module.replace(".", "_")) not in _codecs():
        return False
    try:
        return _TEXT.fullmatch(codecs.lookup(name).name) is not None
    except (LookupError, ValueError):
        return False


def charset_of(content_type: bytes) -> str | None:
    """The charset that a Content-Type names; None where it names none, and "" where what it names is none."""
    declared = content_type[:1000].decode("latin-1")
    if "charset" not in declared.lower():
        return None
    found = _CHARSET.search(declared)
    return found.group(1) if found is not None else ""


_WITH_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
MARK_LENGTH = 4


@lru_cache(maxsize=512)
def needs_mark(charset: str) -> bool:
    """Whether Python's codec of this name raises where a text begins without a byte-order mark."""
    return is_usable(charset) and codecs.lookup(charset).name in _WITH_MARKS


def without_mark(charset: str, first: bytes) -> str:
    """The charset to decode with where a text begins with these bytes: little-endian, unless a mark says otherwise."""
    name = codecs.lookup(charset).name
    return charset if first.startswith(_WITH_MARKS[name]) else f"{name}-le"
