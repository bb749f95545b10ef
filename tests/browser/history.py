"""A history as a shop might have it: made of rows, the same each time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone

from async_commander.history.figures import HISTOGRAM_BINS
from async_commander.history.ownership import host_name, this_process
from async_commander.models import Lease, ObjectLog, Run, RunBucket, RunErrorKind, RunItem, RunLog, RunSlowest

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/commands/prices_fetch.py", line 31, in download
    response.raise_for_status()
    ~~~~~~~~~~~~~~~~~~~~~~~~~^^
  File "/srv/.venv/lib/python3.13/site-packages/httpx/_models.py", line 829, in raise_for_status
    raise HTTPStatusError(message, request=request, response=self)
httpx.HTTPStatusError: Client error '404 Not Found' for url 'https://lamps.example/p/8812'"""
KINDS = (
    ("ReadTimeout", "The server did not answer within 20 s", 61),
    ("HTTPStatusError 503", "Server error '503 Service Unavailable' for url 'https://lamps.example/p/4471'", 34),
    ("HTTPStatusError 404", "Client error '404 Not Found' for url 'https://lamps.example/p/8812'", 12),
    ("ValueError", "no price in '<span class=\"price\">sold out</span>'", 7),
)
SHOPS = ("lamps.example", "chairs.example", "desks.example/catalogue/winter", "rugs.example")


def key(number: int) -> UUID:
    return UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC834) % 2**128)


def run(command: str, began: datetime, seconds: float | None, status: str = "succeeded", **columns: Any) -> Run:
    end = began + timedelta(seconds=seconds) if seconds is not None else None
    columns = {"identity": "3f" * 32, "host": host_name(), "pid": 4711, "trigger": "terminal", **columns}
    columns.setdefault("limits", {"threads": 50, "db_lanes": 4, "batch_size": 100})
    return Run.objects.create(
        command=command, status=status, started=began, finished=end, heartbeat=end or timezone.now(), **columns
    )


def histogram(draw: random.Random, count: int, middle: float) -> list[int]:
    bins = [0] * HISTOGRAM_BINS
    for _ in range(count):
        bins[min(int(draw.lognormvariate(math.log(middle), 0.7)).bit_length(), HISTOGRAM_BINS - 1)] += 1
    return bins


def with_figures(made: Run, seconds: int, per_slice: int, draw: random.Random) -> None:
    rows = []
    for slot in range(0, seconds, 10):
        wave = 0.75 + 0.25 * math.sin(slot / 90) - (0.6 if 240 <= slot < 300 else 0)
        count = max(int(per_slice * wave * draw.uniform(0.9, 1.05)), 3)
        errors = draw.randint(6, 14) if 240 <= slot < 300 else draw.choice((0, 0, 0, 1, 2))
        for stage, middle, failed in (("download", 220, errors), ("parse", 14, 0), ("item", 260, 0)):
            bins = histogram(draw, count, middle)
            rows.append(
                RunBucket(
                    run=made, at=made.started + timedelta(seconds=slot), stage=stage, count=count, errors=failed,
                    total_ms=count * middle, histogram=bins,
                )
            )  # fmt: skip
    RunBucket.objects.bulk_create(rows)
    for kind, example, count in KINDS:
        RunErrorKind.objects.create(
            run=made, kind=kind, count=count, example=example, item="https://lamps.example/p/8812"
        )
    RunSlowest.objects.create(run=made, items=list(slow_items(made, draw)))


def slow_items(made: Run, draw: random.Random) -> Iterator[dict[str, Any]]:
    for place in range(50):
        download, parse, save = int(20_000 / (1 + place / 6)), draw.randint(8, 600), draw.randint(3, 90)
        yield {
            "key": key(place).hex, "label": f"https://{SHOPS[place % 4]}/p/{4000 + place * 37}",
            "state": "dead" if place in (0, 1, 4) else "done", "started": made.started.isoformat(),
            "attempts": 4 if place < 3 else 1, "worker": draw.randint(0, 49), "wait": 3, "download": download,
            "parse": parse, "save": save, "ms": download + parse + save,
        }  # fmt: skip


def with_rows(made: Run, draw: random.Random) -> None:
    kind = ContentType.objects.get_for_model(User)
    ObjectLog.objects.bulk_create(
        ObjectLog(run=made, content_type=kind, object_id=str(n), action="created" if n % 5 else "updated")
        for n in range(240)
    )
    for place in range(60):
        state = "dead" if place in (0, 1, 4) or place > 50 else "done"
        error, example, _ = KINDS[place % 4]
        RunItem.objects.create(
            run=made, key=key(place), label=f"https://{SHOPS[place % 4]}/p/{4000 + place * 37}", state=state,
            attempts=4 if state == "dead" else 1, reason="exhausted" if state == "dead" else "",
            error_kind=error if state == "dead" else "", error=example if state == "dead" else "",
            started=made.started + timedelta(seconds=place), wait_ms=3, worker=place % 50,
            download_ms=int(20_000 / (1 + place / 6)), parse_ms=draw.randint(8, 600), save_ms=draw.randint(3, 90),
        )  # fmt: skip
    at = made.started
    lines = [
        (20, "async_commander.run", "1,240 pages of 4 shops"),
        (30, "shop.prices", "lamps.example asks for a pause of 30 s"),
        (40, "async_commander.run", f"https://lamps.example/p/8812 failed in attempt 4, for good:\n{TRACEBACK}"),
        (20, "shop.prices", "chairs.example: 310 prices, 12 of them new"),
        (30, "httpx", "retrying https://desks.example/catalogue/winter/p/5110"),
        (20, "shop.prices", "rugs.example: 288 prices"),
    ]
    for number, (level, logger, message) in enumerate(lines):
        item = key(0) if level == 40 else None
        told = {"label": "", "kind": KINDS[2][0], "error": KINDS[2][1], "attempt": 4, "final": True}
        RunLog.objects.create(
            run=made, at=at + timedelta(seconds=40 * number), level=level, logger=logger, message=message,
            item_key=item, failure=told if item else None,
        )  # fmt: skip


def fill() -> dict[str, Run]:
    """Four commands with their runs: `finished` went wrong in part, `live` is at work."""
    draw, now = random.Random(11), timezone.now()
    gone = "RunFailed: the shop's index cannot be read: 502 Bad Gateway"
    for day in range(24, 0, -1):
        began = now - timedelta(days=day, hours=2)
        ends = "failed" if day == 9 else "partial" if day in (3, 15) else "succeeded"
        took = draw.uniform(380, 700) if day != 9 else 24
        dead = 14 if ends == "partial" else 0
        done = 0 if ends == "failed" else 1240 - dead
        run("prices_fetch", began, took, ends, total=1240, taken=done + dead, done=done, dead=dead, user="ada",
            parameters={"domain": "example.org", "since": "2026-11-01"},
            error=gone if ends == "failed" else "")  # fmt: skip
        if day % 7 == 0:
            run("catalogue_import", began, draw.uniform(30, 90), total=200_000, taken=200_000, done=199_990, skipped=10,
                parameters={"file": "catalogue.csv"}, trigger="task", user="")  # fmt: skip
    for day in range(30, 0, -1):
        ends = "partial" if day % 11 == 0 else "succeeded"
        run("typed", now - timedelta(days=day, hours=3), draw.uniform(60, 110), ends, total=320, taken=320, done=320,
            parameters={"number": 320, "kind": "lamp"}, user="grace", trigger="admin")  # fmt: skip
    for hour in range(20, 0, -1):
        status = "crashed" if hour == 6 else "succeeded"
        run("mail_digest", now - timedelta(hours=hour), draw.uniform(2, 6), status, trigger="schedule")
    began = now - timedelta(minutes=42)
    finished = run(
        "prices_fetch", began, 608, "partial", total=1240, taken=1240, done=1226, dead=14, user="ada", trigger="admin",
        parameters={"domain": "example.org", "since": "2026-11-01"}, source_ended=True,
        options={"max_items": 1240},
        output="Reading 4 shops\nprices changed: 318\n  lamps.example   92\n  chairs.example 141\n",
    )  # fmt: skip
    with_figures(finished, 608, 21, draw)
    with_rows(finished, draw)
    live = run(
        "catalogue_import", now - timedelta(seconds=184), None, "running", total=200_000, taken=84_310, done=83_900,
        skipped=12, dead=3, retry=5, claimed=390, parameters={"file": "catalogue.csv", "delete_missing": True},
        trigger="admin", user="grace", expires=now + timedelta(hours=1),
    )  # fmt: skip
    Lease.objects.create(name=f"run:{live.pk}", epoch=1, **this_process().columns)
    with_figures(live, 180, 4600, draw)
    RunLog.objects.create(run=live, at=live.started, level=20, logger="shop.catalogue", message="200,000 rows to read")
    steered = {"waiting": at_work(now, "clean_up", "waiting"), "paused": at_work(now, "prices_fetch", "running")}
    asked = {"by": "grace", "at": (now - timedelta(seconds=70)).isoformat()}
    Run.objects.filter(pk=steered["waiting"].pk).update(question="Delete 318 prices that no shop has any more?")
    Run.objects.filter(pk=steered["paused"].pk).update(
        orders={"pause": {"to": True, **asked}, "limits": {"threads": {"to": 8, **asked}}}, claimed=0, taken=640
    )
    return {"finished": finished, "live": live, **steered}


def at_work(now: datetime, command: str, status: str) -> Run:
    """One that has come half way."""
    made = run(
        command, now - timedelta(seconds=300), None, status, total=1240, taken=652, done=631, dead=1, retry=8,
        claimed=12, parameters={"domain": "example.org"}, trigger="admin", user="ada", pausable=True,
        expires=now + timedelta(hours=1), limits={"threads": 8, "per_host": 4, "per_second": 2.5, "timeout": 3600.0,
        "max_failures": "10%"},
    )  # fmt: skip
    Lease.objects.create(name=f"run:{made.pk}", epoch=1, **this_process().columns)
    RunLog.objects.create(run=made, at=made.started, level=20, logger="shop", message="1,240 pages of 4 shops")
    return made
