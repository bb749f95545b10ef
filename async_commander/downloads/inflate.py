"""Decompression that never makes more than it was asked for."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from .errors import BadBody, BodyTooLarge, BodyTruncated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zlib import _Decompress

PIECE = 64 * 1024
RATIO = 200
RATIO_FROM = 1024 * 1024

_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"

ACCEPTED = "gzip, deflate"
_ENCODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


def encoding_of(header: str | None) -> str | None:
    """The one encoding that a Content-Encoding header names: "gzip", "deflate", or None for none.

    BadBody for several at once, which only bombs use, and for one that this client never asks for.
    """
    if header is None:
        return None
    named = [part for part in (part.strip().lower() for part in header.split(",")) if part not in {"", "identity"}]
    if not named:
        return None
    if len(named) > 1:
        raise BadBody(f"Content-Encoding {header[:100]!r}: one encoding is allowed, {len(named)} were found")
    if named[0] not in _ENCODINGS:
        raise BadBody(f"Content-Encoding {header[:100]!r} was not asked for; {ACCEPTED} are")
    return _ENCODINGS[named[0]]


class Inflater:
    """Decodes one gzip body (of any number of members) or one deflate body (with or without its zlib wrapper)."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream: _Decompress | None = None
        self._held = b""
        self._over = False
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
        """Choose the decompressor for what starts here; the first two bytes tell, and are waited for."""
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
