"""Spans of OpenTelemetry for runs, their items, hooks and requests. Needs the extra `opentelemetry`.

    from async_commander.contrib import opentelemetry

    opentelemetry.instrument()            # in AppConfig.ready(): from then on, each run of this process is traced

Where the spans go is set up by OpenTelemetry's own SDK, or by `opentelemetry-instrument`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

import async_commander
from async_commander.downloads import client
from async_commander.downloads.transport import BoundedTransport
from async_commander.engine.failures import is_cancellation
from async_commander.results import RunResult, RunStatus
from async_commander.runner.observing import RUN, ObservedRun, Observer, observers
from async_commander.text.redactor import no_credentials

if TYPE_CHECKING:
    import httpx

    from async_commander.downloads.journey import Journey
    from async_commander.downloads.protocol import Ask, Head
    from async_commander.downloads.response import Response

_FAILED = frozenset({RunStatus.FAILED, RunStatus.CRASHED})
_instrumented: list[Any] = []


def instrument(*, items: bool = True) -> None:
    """Trace the runs of this process from now on; called once more, it counts what was said last.

    `items=False`: no spans of items and their hooks, for runs of millions. Requests have theirs all the same.
    """
    uninstrument()

    def spans_of(run: ObservedRun) -> Observer:
        return Spans(run, items=items)

    _instrumented.append(spans_of)
    observers.append(spans_of)
    client.bounded_transport = TracedTransport


def uninstrument() -> None:
    """Trace no runs any more that begin from now on."""
    while _instrumented:
        observers.remove(_instrumented.pop())
    client.bounded_transport = BoundedTransport


def _tracer() -> trace.Tracer:
    return trace.get_tracer("async_commander", async_commander.__version__)


class Spans(Observer):
    """The spans of one run. What is done within an item, on its lane too, has the item's span as its parent."""

    def __init__(self, run: ObservedRun, *, items: bool) -> None:
        self._run = run
        self._items = items
        self._span: Span | None = None

    @asynccontextmanager
    async def around(self, what: str, label: str) -> AsyncIterator[None]:
        """See Observer."""
        context = self._run.context
        if what == RUN:
            with _tracer().start_as_current_span(f"run {context.command}") as self._span:
                self._span.set_attribute("async_commander.command", context.command)
                self._span.set_attribute("async_commander.run.id", str(context.run_id))
                yield
            return
        if not self._items:
            yield
            return
        with _spanned(what) as span:
            span.set_attribute("async_commander.command", context.command)
            if label:
                span.set_attribute("async_commander.item", label)
            yield

    def finished(self, result: RunResult) -> None:
        """See Observer."""
        if self._span is None:
            return
        self._span.set_attribute("async_commander.run.status", result.status.value)
        for name, number in result.counts.items():
            self._span.set_attribute(f"async_commander.items.{name}", number)
        if result.status in _FAILED:
            self._span.set_status(Status(StatusCode.ERROR, result.error))


@contextmanager
def _spanned(name: str) -> Iterator[Span]:
    """A span that fails with what is raised; a cancel is no failure. Of an error only its kind: texts have secrets."""
    with _tracer().start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except BaseException as error:
            if not is_cancellation(error):
                _fail(span, error)
            raise


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


class TracedTransport(BoundedTransport):
    """A span for each hop of a request, until the head of its answer: by the conventions for HTTP clients."""

    async def send(self, request: httpx.Request, journey: Journey) -> Response:
        """See BoundedTransport."""
        url = request.url
        with _hop(request.method, str(url), url.host, url.port or (443 if url.scheme == "https" else 80)) as span:
            response = await super().send(request, journey)
            _answered(span, response.status_code)
            return response

    async def fetch(self, ask: Ask, journey: Journey) -> tuple[Head, bytes]:
        """See BoundedTransport."""
        origin = ask.origin
        standard = origin.port == (443 if origin.scheme == "https" else 80)
        where = origin.host if standard else f"{origin.host}:{origin.port}"
        url = f"{origin.scheme}://{where}{ask.target.decode('latin-1')}"
        with _hop(ask.method.decode("ascii"), url, origin.host, origin.port) as span:
            head, content = await super().fetch(ask, journey)
            _answered(span, head.status)
            return head, content


@contextmanager
def _hop(method: str, url: str, host: str, port: int) -> Iterator[Span]:
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.full": no_credentials(url),
        "server.address": host,
        "server.port": port,
    }
    options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with _tracer().start_as_current_span(method, kind=SpanKind.CLIENT, attributes=attributes, **options) as span:
        try:
            yield span
        except BaseException as error:
            _fail(span, error)
            raise


def _answered(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
