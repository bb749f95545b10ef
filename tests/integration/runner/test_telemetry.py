"""Spans and metrics of runs, as OpenTelemetry's SDK and Prometheus's registry get them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY, generate_latest

import async_commander as ac
from async_commander.contrib import opentelemetry, prometheus
from async_commander.runner.observing import observers
from async_commander.testing import Responses
from tests.testapp.models import Effect

SITE = "https://user:hunter2-xyz@site.test"


class Pages(ac.IterateDownloadCommand[str, str]):
    retry = ac.Retry(attempts=1)
    paths: list[str] = ["/a", "/gone", "/moved"]

    async def iterate(self):
        return self.paths

    async def download(self, path: str) -> str:
        if path == "/a":
            return (await self.fetch(f"https://site.test{path}")).text
        return (await self.http.get(f"{SITE}{path}")).raise_for_status().text

    async def parse_and_save(self, path: str, page: str) -> None:
        await Effect.objects.acreate(key=path)
        with trace.get_tracer("of the author").start_as_current_span("on the lane"):
            await self.db(in_the_span)


def in_the_span() -> None:
    trace.get_current_span().set_attribute("seen", 1)


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """The provider of a process is set once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    opentelemetry.instrument()
    yield exporter
    opentelemetry.uninstrument()


@pytest.fixture
def site(responses: Responses) -> Responses:
    responses.get("https://site.test/a", text="A")
    responses.get("https://site.test/gone", status=404)
    responses.get("https://site.test/moved", status=302, headers={"Location": "/a"})
    return responses


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def test_a_run_its_items_and_requests_are_one_trace(run: Any, spans: InMemorySpanExporter, site: Responses) -> None:
    result = run(Pages())
    (whole,) = [span for span in spans.get_finished_spans() if span.name.startswith("run ")]
    assert whole.attributes is not None
    assert whole.attributes["async_commander.run.id"] == str(result.run_id)
    assert whole.attributes["async_commander.run.status"] == "partial"
    assert (whole.attributes["async_commander.items.done"], whole.attributes["async_commander.items.dead"]) == (2, 1)
    assert {span.context.trace_id for span in spans.get_finished_spans()} == {whole.context.trace_id}  # type: ignore[union-attr]
    items = named(spans, "item")
    assert sorted(span.attributes["async_commander.item"] for span in items) == ["/a", "/gone", "/moved"]  # type: ignore[index,type-var]
    assert {span.parent.span_id for span in items} == {whole.context.span_id}  # type: ignore[union-attr]
    failed = [span for span in items if not span.status.is_ok]
    assert [span.attributes["error.type"] for span in failed] == ["httpx.HTTPStatusError"]  # type: ignore[index]
    assert len(named(spans, "download")) == 3
    assert len(named(spans, "on the lane")) == 2
    assert all(span.attributes["seen"] == 1 for span in named(spans, "on the lane"))  # type: ignore[index]


def test_requests_go_by_the_semantic_conventions(run: Any, spans: InMemorySpanExporter, site: Responses) -> None:
    run(Pages())
    requests = named(spans, "GET")
    assert {span.kind for span in requests} == {SpanKind.CLIENT}
    seen = sorted((dict(span.attributes or {}) for span in requests), key=lambda one: str(one["url.full"]))
    assert [one["http.response.status_code"] for one in seen if "/gone" in str(one["url.full"])] == [404]
    assert [one["error.type"] for one in seen if "error.type" in one] == ["404"]
    assert sum(str(one["url.full"]).endswith("/a") for one in seen) == 2  # asked for, and led to
    assert {(one["http.request.method"], one["server.address"], one["server.port"]) for one in seen} == {
        ("GET", "site.test", 443)
    }
    assert "hunter2-xyz" not in str([span.to_json() for span in spans.get_finished_spans()])


def test_items_may_be_left_out(run: Any, spans: InMemorySpanExporter, site: Responses) -> None:
    opentelemetry.instrument(items=False)
    run(Pages())
    assert not named(spans, "item")
    assert not named(spans, "download")
    assert named(spans, "GET")


@pytest.mark.django_db
def test_a_run_that_fails_has_a_span_that_failed(spans: InMemorySpanExporter) -> None:
    class Fails(ac.AsyncCommand):
        async def handle(self) -> None:
            raise LookupError("nothing there")

    with pytest.raises(ac.RunFailed):
        ac.run(Fails())
    (whole,) = [span for span in spans.get_finished_spans() if span.name.startswith("run ")]
    assert not whole.status.is_ok
    assert "nothing there" in str(whole.status.description)


def test_who_is_not_instrumented_pays_nothing() -> None:
    from async_commander.downloads import client
    from async_commander.downloads.transport import BoundedTransport

    assert client.bounded_transport is BoundedTransport
    assert not [one for one in observers if "contrib" in str(getattr(one, "__module__", ""))]


# -- metrics -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def metrics() -> Iterator[None]:
    prometheus.instrument()
    prometheus.instrument()  # once more changes nothing
    yield
    prometheus.uninstrument()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"async_commander_{name}", labels) or 0.0


def test_runs_and_items_are_counted(run: Any, metrics: None, site: Responses) -> None:
    class Counted(Pages):
        pass

    command = f"{Counted.__module__}.{Counted.__qualname__}"
    before = {name: value("items_total", command=command, outcome=name) for name in ("done", "dead")}
    runs = value("runs_total", command=command, status="partial")
    attempts = value("item_duration_seconds_count", command=command)
    run(Counted())
    assert value("items_total", command=command, outcome="done") == before["done"] + 2
    assert value("items_total", command=command, outcome="dead") == before["dead"] + 1
    assert value("runs_total", command=command, status="partial") == runs + 1
    assert value("item_duration_seconds_count", command=command) == attempts + 3
    assert value("run_duration_seconds_count", command=command) >= 1
    assert value("runs_in_progress", command=command) == 0
    assert b"async_commander_runs_total" in generate_latest()


@pytest.mark.django_db
def test_plain_commands_are_counted_and_dry_runs_are_not(metrics: None) -> None:
    @ac.tracked(name="counted_words")
    def count_words() -> int:
        return 3

    count_words()
    ac.run(Pages(paths=[]), dry_run=True)
    assert value("runs_total", command="counted_words", status="succeeded") == 1
    name = f"{Pages.__module__}.{Pages.__qualname__}"
    assert value("runs_total", command=name, status="succeeded") == 0
