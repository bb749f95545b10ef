"""A run that is begun from a page, and watched on one."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

import async_commander as ac
from async_commander.models import Run

MOST_PRODUCTS = 1_000


def _products(request: HttpRequest) -> int:
    asked = request.POST.get("products", "")
    return min(int(asked), MOST_PRODUCTS) if asked.isdecimal() else 100


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """What can be begun, and what was."""
    runs = Run.objects.order_by("-pk")[:10]
    return render(request, "prices/index.html", {"runs": runs, "live": isinstance(request, ASGIRequest)})


@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """A run that goes on without its client: a worker carries it, `manage.py aworker`."""
    handle = ac.dispatch("fetch_prices", products=_products(request))
    return redirect("run", handle.run_id)


@require_POST
async def live(request: HttpRequest) -> HttpResponse:
    """A run that belongs to this request: who leaves the page stops it."""
    return ac.EventStreamResponse(ac.astream("fetch_prices", products=_products(request)))


@require_GET
def show(request: HttpRequest, run_id: int) -> HttpResponse:
    """The page of one run."""
    run = get_object_or_404(Run, pk=run_id)
    return render(request, "prices/run.html", {"run": run, "live": isinstance(request, ASGIRequest)})


@require_GET
async def events(request: HttpRequest, run_id: int) -> HttpResponse:
    """What happens in a run, as it happens; a browser that comes back goes on where it was."""
    await aget_object_or_404(Run, pk=run_id)  # and here a project asks whether this user may see it
    after = request.headers.get("Last-Event-ID") or request.GET.get("after")
    return ac.EventStreamResponse(ac.awatch(run_id, after=after))


@require_GET
def news(request: HttpRequest, run_id: int) -> HttpResponse:
    """The same for a page that asks again and again, as it has to under WSGI."""
    get_object_or_404(Run, pk=run_id)
    told = ac.run_events(run_id, request.GET.get("after"))
    return JsonResponse({"events": [event.as_dict() for event in told]})


@require_POST
async def stop(request: HttpRequest, run_id: int) -> HttpResponse:
    """Ask for the end of a run, in order."""
    run = await aget_object_or_404(Run, pk=run_id)
    await run.acancel(user=request.get_host())
    return HttpResponse(status=204)
