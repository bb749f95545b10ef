"""The benchmarks' own arithmetic, and that every contender does the same job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.contenders.registry import CONTENDERS, OPTIMUM
from benchmarks.job import Job, parse
from benchmarks.measure import Measurement
from benchmarks.report import Conditions, Series, cpu_ratios, ratios, results, spread
from benchmarks.server import LINKS, PAGE_SIZE, Answering, page_body

if TYPE_CHECKING:
    from benchmarks.report import Round


def _measured(contender: str, seconds: float) -> Measurement:
    return Measurement(contender=contender, pages=100, seconds=seconds, cpu_seconds=0.2, peak_mib=64)


def _round(product: float, optimum: float) -> Round:
    return {name: _measured(name, {"product": product, OPTIMUM: optimum}.get(name, 9.0)) for name in CONTENDERS}


def test_a_ratio_is_taken_within_its_round() -> None:
    rounds = [_round(product=2.0, optimum=1.0), _round(product=20.0, optimum=10.0)]

    assert ratios(rounds, "product") == pytest.approx([0.5, 0.5])
    assert ratios(rounds, OPTIMUM) == [1.0, 1.0]
    assert cpu_ratios(rounds, "product") == [1.0, 1.0]


def test_a_spread_is_the_median_with_the_least_and_the_greatest() -> None:
    assert spread([3.0, 1.0, 2.0], ".1f") == "2.0 (1.0 to 3.0)"


def test_a_measurement_survives_its_way_between_processes() -> None:
    measured = _measured("product", 0.5)

    assert Measurement.from_json(measured.to_json()) == measured
    assert measured.rate == 200
    assert measured.cpu_ms == pytest.approx(2.0)


def test_the_report_has_a_row_for_each_contender_and_says_what_is_left_out() -> None:
    conditions = Conditions(
        command="python -m benchmarks",
        cores=2,
        versions=["Python 3.11"],
        pages=100,
        warm_up=10,
        threads=50,
        rounds=1,
        left_out=["Left out: no PostgreSQL at 127.0.0.1:5432"],
    )
    series = [Series("SQLite", 0.03, [_round(product=0.5, optimum=0.4)])]

    text = results(conditions, series, {"items": 1000, "growth_kib": 12, "microseconds": 3.21})

    assert "## SQLite, 30 ms latency" in text
    assert "| async_commander | 200 (200 to 200) | 0.80 (0.80 to 0.80) | 2.00" in text
    assert all(label in text for label in CONTENDERS.values())
    assert "no PostgreSQL" in text
    assert "12 KiB, 3.2 µs" in text


def test_the_pages_have_the_size_and_the_links_that_are_claimed() -> None:
    body = page_body()
    title, links = parse("http://x/page/7", f"<title>Page 7 &amp; more</title>{body.decode()}")

    assert len(body) == PAGE_SIZE
    assert title == "Page 7 & more"
    assert 0.9 * LINKS <= links <= LINKS


def test_a_page_without_a_title_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no title"):
        parse("http://x/", "<p>")


def test_a_job_names_its_pages() -> None:
    assert list(Job("http://x/", first=5, pages=2, threads=1).urls()) == ["http://x/page/5", "http://x/page/6"]


@pytest.mark.asyncio
async def test_the_server_answers_requests_that_come_in_pieces_and_together() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Answering(0.0, b"body"), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET /page/1 HTTP/1.1\r\n")
        await writer.drain()
        writer.write(b"\r\nGET /page/2 HTTP/1.1\r\n\r\n")

        first = await reader.readuntil(b"body")
        second = await reader.readuntil(b"body")
        writer.close()
        await writer.wait_closed()

    assert b"<title>Page 1 &amp; more</title>" in first
    assert b"<title>Page 2 &amp; more</title>" in second


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--pages", "0"], "argument --pages: found '0', allowed: a whole number from 1"),
        (["--rounds", "-1"], "argument --rounds: found '-1', allowed: a whole number from 1"),
        (["--latencies", "nan"], "argument --latencies: found 'nan', allowed: seconds from 0 to 60"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *given])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
