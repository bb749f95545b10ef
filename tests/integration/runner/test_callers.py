"""Who asked for a run that begins in a request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

import async_commander as ac
from async_commander.models import Run
from async_commander.runner.caller import served
from tests.testapp.models import Tag

MIDDLEWARE = [*settings.MIDDLEWARE, "async_commander.middleware.run_middleware"]


class Count(ac.AsyncCommand):
    async def handle(self) -> int:
        return 1


class Outer(ac.AsyncCommand):
    async def handle(self) -> None:
        await ac.arun(Count)


def begin(request: HttpRequest) -> HttpResponse:
    ac.run(Count)
    return HttpResponse()


async def begin_async(request: HttpRequest) -> HttpResponse:
    await ac.arun(Outer)
    return HttpResponse()


async def begin_in_a_task(request: HttpRequest) -> HttpResponse:
    await asyncio.create_task(ac.arun(Count))
    return HttpResponse()


async def begin_in_a_thread(request: HttpRequest) -> HttpResponse:
    await sync_to_async(ac.run)(Count)
    return HttpResponse()


def begin_for_somebody(request: HttpRequest) -> HttpResponse:
    ac.run(Count, user="cron", trigger="button")
    return HttpResponse()


def begin_by_its_line(request: HttpRequest) -> HttpResponse:
    call_command("arun", f"{__name__}.Count")
    return HttpResponse()


def break_down(request: HttpRequest) -> HttpResponse:
    raise ValueError("nothing works")


class TagAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    actions = ["count"]

    def count(self, request: HttpRequest, queryset: Any) -> None:
        ac.run(Count)


site = admin.AdminSite(name="office")
site.register(Tag, TagAdmin)

VIEWS = (begin, begin_async, begin_in_a_task, begin_in_a_thread, begin_for_somebody, begin_by_its_line, break_down)
urlpatterns = [*(path(f"{view.__name__}/", view) for view in VIEWS), path("office/", site.urls)]


@pytest.fixture(autouse=True)
def served_here() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE):
        yield


def ann() -> User:
    return User.objects.create_superuser("ann", password="x")


def asked() -> list[tuple[str, str]]:
    return list(Run.objects.order_by("pk").values_list("trigger", "user"))


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize("view", ["begin", "begin_by_its_line"])
def test_a_view_s_run_has_its_user(view: str) -> None:
    client = Client()
    client.force_login(ann())
    assert client.get(f"/{view}/").status_code == 200
    assert asked() == [("view", "ann")]
    assert served.get() is None


@pytest.mark.usefixtures("transactional_db")
def test_nobody_is_logged_in() -> None:
    assert Client().get("/begin/").status_code == 200
    assert asked() == [("view", "")]


@pytest.mark.usefixtures("transactional_db")
def test_what_is_said_goes_before_what_is_known() -> None:
    client = Client()
    client.force_login(ann())
    client.get("/begin_for_somebody/")
    assert asked() == [("button", "cron")]


@pytest.mark.asyncio
@pytest.mark.usefixtures("arun_db")
@pytest.mark.parametrize(
    ("view", "runs"), [("begin_async", 2), ("begin_in_a_task", 1), ("begin_in_a_thread", 1), ("begin", 1)]
)
async def test_so_has_an_asynchronous_view_s_and_a_run_inside_of_it(view: str, runs: int) -> None:
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(ann)())
    assert (await client.get(f"/{view}/")).status_code == 200
    assert await sync_to_async(asked)() == [("view", "ann")] * runs
    assert served.get() is None


@pytest.mark.usefixtures("transactional_db")
def test_an_action_in_the_admin_is_one_of_the_admin() -> None:
    client, tag = Client(), Tag.objects.create(name="x")
    client.force_login(ann())
    answer = client.post("/office/testapp/tag/", {"action": "count", "_selected_action": [str(tag.pk)]})
    assert answer.status_code == 302
    assert asked() == [("admin", "ann")]


@pytest.mark.usefixtures("transactional_db")
def test_a_view_that_breaks_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="nothing works"):
        Client().get("/break_down/")
    assert served.get() is None
    ac.run(Count)
    assert asked() == [("call", "")]


@pytest.mark.parametrize(("user", "name"), [("ann", "ann"), (None, ""), (AnonymousUser(), "")])
def test_without_the_middleware_the_request_is_given(run: Any, user: Any, name: str) -> None:
    request = RequestFactory().get("/")
    if user is not None:
        request.user = ann() if user == "ann" else user
    run(Count, request=request)
    run(Count, request=request, user="cron", trigger="button")
    assert asked() == [("view", name), ("button", "cron")]


@pytest.mark.asyncio
@pytest.mark.usefixtures("arun_db")
async def test_the_request_may_be_given_to_an_asynchronous_run() -> None:
    request = RequestFactory().get("/")
    request.user = await sync_to_async(ann)()
    await ac.arun(Count, request=request)
    assert await sync_to_async(asked)() == [("view", "ann")]


def test_an_argument_of_the_command_s_own_goes_before(run: Any) -> None:
    class Asks(ac.AsyncCommand):
        request: str

        async def handle(self) -> str:
            return self.request

    assert run(Asks, request="GET /").value == "GET /"
