from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_commander.downloads.decoding import Inflater, encoding_of
from async_commander.downloads.errors import BadBody, BodyTooLarge, BodyTruncated
from async_commander.downloads.limits import PIECE


def inflate(encoding: str, data: bytes, step: int = 1024) -> bytes:
    inflater = Inflater(encoding)
    made = b"".join(piece for at in range(0, len(data), step) for piece in inflater.feed(data[at : at + step]))
    inflater.finish()
    return made


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@given(
    data=st.binary(max_size=5000),
    step=st.integers(1, 600),
    packed=st.sampled_from([("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]),
)
@settings(max_examples=150)
def test_what_was_packed_comes_out_however_it_is_cut(data: bytes, step: int, packed: tuple[str, object]) -> None:
    encoding, pack = packed
    assert inflate(encoding, pack(data), step) == data


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 17])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_nothing_stays_behind_where_a_piece_is_full(size: int, pack: object) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert inflate("gzip" if pack is gzip.compress else "deflate", pack(data), step=100_000) == data


def test_pieces_are_small_however_much_a_chunk_holds() -> None:
    pieces = list(Inflater("gzip").feed(gzip.compress(b"x" * 1_000_000)))
    assert max(map(len, pieces)) <= PIECE
    assert sum(map(len, pieces)) == 1_000_000


def test_a_bomb_is_stopped_after_little_more_than_a_megabyte() -> None:
    made = 0
    with pytest.raises(BodyTooLarge, match="200:1"):
        for piece in Inflater("gzip").feed(gzip.compress(b"\0" * 50_000_000)):
            made += len(piece)
    assert made <= 1024 * 1024 + len(gzip.compress(b"\0" * 50_000_000)) * 200


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_gzip_members_follow_each_other_and_padding_is_ignored(step: int) -> None:
    assert (
        inflate("gzip", gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two") + b"\0" * 50, step)
        == b"onetwo"
    )


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_missing_end_is_noticed_at_every_cut(pack: object) -> None:
    packed = pack(b"hello world, hello world")
    for cut in range(1, len(packed)):
        with pytest.raises(BodyTruncated):
            inflate("gzip" if pack is gzip.compress else "deflate", packed[:cut])


def test_an_empty_body_is_empty_whatever_its_encoding() -> None:
    assert inflate("gzip", b"") == inflate("deflate", b"") == b""


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
@settings(max_examples=300)
def test_garbage_raises_declared_errors_only(data: bytes, encoding: str) -> None:
    with contextlib.suppress(BadBody, BodyTooLarge):
        inflate(encoding, data, 50)


def test_a_broken_checksum_is_noticed() -> None:
    packed = bytearray(gzip.compress(b"hello world"))
    packed[-6] ^= 1
    with pytest.raises(BadBody):
        inflate("gzip", bytes(packed))


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        (" GZip ", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("identity, gzip,", "gzip"),
        ("none", None),
        ("utf-8", None),
        ("UTF-8, x-mystery", None),
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("nonsense" * 100, None),
        ("," * 5000, None),
    ],
)
def test_an_encoding_that_is_known_is_read_and_others_leave_the_body_as_it_is(
    header: str, encoding: str | None
) -> None:
    assert encoding_of(header) == encoding


@pytest.mark.parametrize("header", ["gzip, gzip", "deflate,gzip", "br", "zstd", "compress", "aws-chunked, br"])
def test_layers_and_compressions_that_nobody_asked_for_are_refused(header: str) -> None:
    with pytest.raises(BadBody, match="Content-Encoding"):
        encoding_of(header)


@pytest.mark.parametrize(
    ("header", "accepted"), [("br", "gzip, br;q=0.5"), ("ZSTD", "zstd"), ("br", "*"), ("br,gzip", "br")]
)
def test_a_compression_that_the_request_asked_for_is_left_to_it(header: str, accepted: str) -> None:
    assert encoding_of(header, accepted) is None


def test_a_body_of_nothing_but_empty_members_is_refused() -> None:
    with pytest.raises(BadBody, match=r"1001 gzip members in .* bytes: after 1000 of them, at least 64 bytes each"):
        inflate("gzip", gzip.compress(b"") * 20_000)


def test_many_small_members_are_read() -> None:
    lines = [
        f"{number:06} a line of a log that is compressed line by line, as some do\n".encode() for number in range(3_000)
    ]
    assert inflate("gzip", b"".join(map(gzip.compress, lines))) == b"".join(lines)
