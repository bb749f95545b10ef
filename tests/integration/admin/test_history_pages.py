"""The history in the admin: who may read it, that nobody writes it, and that hostile text stays text."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from async_commander.models import Run, RunErrorKind, RunItem, RunLog

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert('x')</script>"
PAGES = ("run", "runitem", "runlog")


@pytest.fixture
def recorded() -> Run:
    run = Run.objects.create(
        command="scrapers_fetch",
        identity="0" * 64,
        status="partial",
        taken=3,
        done=2,
        dead=1,
        error=HOSTILE,
        output=HOSTILE,
    )
    RunErrorKind.objects.create(run=run, kind="HTTPStatusError 500", count=1, example=HOSTILE, item=HOSTILE)
    RunItem.objects.create(
        run=run,
        key="12345678-1234-5678-9234-567812345678",
        label=HOSTILE,
        state="dead",
        reason="permanent",
        error=HOSTILE,
    )
    RunLog.objects.create(run=run, at=timezone.now(), level=40, logger="shop", message=HOSTILE)
    return run


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


@pytest.mark.parametrize("page", PAGES)
def test_lists_are_shown_with_hostile_text_escaped(recorded: Run, superuser: Client, page: str) -> None:
    html = superuser.get(f"/admin/async_commander/{page}/").content.decode()
    assert "scrapers_fetch" in html
    assert HOSTILE not in html


def test_one_run_is_shown_with_its_errors_by_kind(recorded: Run, superuser: Client) -> None:
    html = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    assert "HTTPStatusError 500" in html
    assert "&lt;script&gt;" in html
    assert HOSTILE not in html


def test_an_item_is_shown_without_what_it_is_run_again_with(recorded: Run, superuser: Client) -> None:
    RunItem.objects.update(label="https://********@example.org/", item="https://bob:hunter2@example.org/")
    html = superuser.get(f"/admin/async_commander/runitem/{RunItem.objects.get().pk}/change/").content.decode()
    assert "https://********@example.org/" in html
    assert "hunter2" not in html


def test_a_run_that_is_not_there_is_no_server_error(superuser: Client) -> None:
    assert superuser.get("/admin/async_commander/run/4711/change/", follow=True).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_not_even_a_superuser_adds_changes_or_deletes(recorded: Run, superuser: Client, page: str) -> None:
    first = {"run": Run, "runitem": RunItem, "runlog": RunLog}[page].objects.get()
    assert superuser.get(f"/admin/async_commander/{page}/add/").status_code == 403
    assert superuser.post(f"/admin/async_commander/{page}/{first.pk}/change/", {"status": "done"}).status_code == 403
    assert superuser.post(f"/admin/async_commander/{page}/{first.pk}/delete/", {"post": "yes"}).status_code == 403
    superuser.post(
        f"/admin/async_commander/{page}/", {"action": "delete_selected", "_selected_action": [first.pk], "post": "yes"}
    )
    assert type(first).objects.filter(pk=first.pk).exists()


def test_staff_needs_the_permission_to_view(recorded: Run) -> None:
    staff = User.objects.create_user("staff", password="staff", is_staff=True)
    client = Client()
    client.force_login(staff)
    assert client.get("/admin/async_commander/run/").status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_run"))
    assert client.get("/admin/async_commander/run/").status_code == 200
    assert client.get("/admin/async_commander/runlog/").status_code == 403


def test_anonymous_readers_are_sent_to_the_login(recorded: Run) -> None:
    answer = Client().get(f"/admin/async_commander/run/{recorded.pk}/change/")
    assert answer.status_code == 302
    assert "/login/" in answer["Location"]


def test_search_and_filters_answer(recorded: Run, superuser: Client) -> None:
    assert "scrapers_fetch" in superuser.get("/admin/async_commander/run/?q=scrapers&status=partial").content.decode()
    assert "0 runs" in superuser.get("/admin/async_commander/run/?status=succeeded").content.decode()
