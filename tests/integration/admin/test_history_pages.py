"""The history in the admin: who may read it, that nobody writes it, and that hostile text stays text."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin, site
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_commander.admin.items import REASONS
from async_commander.admin.objects import RunsOfObject
from async_commander.downloads.errors import ProxyRefuses
from async_commander.exceptions import ItemError
from async_commander.history.ownership import this_host
from async_commander.history.reading import is_silent
from async_commander.imports.rejected import RowRejected
from async_commander.models import Lease, ObjectLog, Run, RunBucket, RunErrorKind, RunItem, RunLog
from tests.testapp.models import Party

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert('x')</script>"
PAGES = ("run", "runitem", "runlog", "objectlog")


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
    kind = ContentType.objects.get_for_model(User)
    ObjectLog.objects.create(run=run, content_type=kind, object_id=HOSTILE, action="updated")
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


def test_the_page_of_a_run_shows_how_long_its_stages_took(recorded: Run, superuser: Client) -> None:
    for stage in ("download", HOSTILE[:20]):
        RunBucket.objects.create(
            run=recorded, at=recorded.started, stage=stage, count=2, total_ms=1500, histogram=[0] * 10 + [2]
        )
    html = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    row = re.search(r"<tr><th[^>]*>download</th>(.*?)</tr>", html)
    assert row is not None
    assert re.findall(r">([^<]*)</td>", unescape(row[1].replace("\xa0", " ")))[:3] == ["2", "0", "750 ms"]
    assert HOSTILE[:20] not in html
    RunBucket.objects.all().delete()
    assert "95th percentile" not in superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()


def test_the_page_of_a_dry_run_shows_what_it_would_have_written(recorded: Run, superuser: Client) -> None:
    recorded.dry_run, recorded.would = True, {HOSTILE: {"created": 1234, "undeleted": 7}}
    recorded.save()
    page = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    assert HOSTILE not in page
    row = re.search(r"<tr><th[^>]*>&lt;script&gt;.*?</tr>", page)
    assert row is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", row[0]) == ["1,234", "", "", "", "7"]


def test_the_page_of_a_run_shows_its_steps_to_those_who_may_read_them(recorded: Run, superuser: Client) -> None:
    page = f"/admin/async_commander/run/{recorded.pk}/change/"
    assert "permanent" not in superuser.get(page).content.decode()
    RunItem.objects.update(state="done", reason="step", parse_ms=1500)
    html = superuser.get(page).content.decode()
    step = re.search(r"<tr><th[^>]*>&lt;script&gt;.*?</tr>", html)
    assert step is not None
    assert "1.5\xa0s" in step[0]
    reader = User.objects.create_user("reader", password="reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_run"))
    client = Client()
    client.force_login(reader)
    assert "1.5\xa0s" not in client.get(page).content.decode()


def test_the_page_of_a_run_tells_what_it_has_touched(
    recorded: Run, superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"/admin/async_commander/run/{recorded.pk}/change/"
    assert "Objects touched" in superuser.get(page).content.decode()
    for number in range(5):
        Party.objects.create(name=HOSTILE + str(number)).command_logs.add(recorded, action="created")
    Party.objects.first().command_logs.add(recorded)  # type: ignore[union-attr]
    kind = ContentType.objects.get_for_model(Party).pk
    link = (
        f"/admin/async_commander/objectlog/?run__id__exact={recorded.pk}&content_type__id__exact={kind}&action__exact"
    )
    html = unescape(superuser.get(page).content.decode())
    assert f'Testapp | party</th><td><a href="{link}=created">5 created</a>' in html
    assert f'<a href="{link}=linked">1 linked</a>' in html
    assert len(superuser.get(f"{link}=created").context["cl"].result_list) == 5
    monkeypatch.setattr("async_commander.history.provenance.COUNTED", 3)
    monkeypatch.setattr("async_commander.admin.run_page.COUNTED", 3)
    assert "(of the first 3)" in unescape(superuser.get(page).content.decode())


def test_the_page_of_an_object_tells_which_runs_have_touched_it(recorded: Run, rf: RequestFactory) -> None:
    class Plain(RunsOfObject, ModelAdmin):
        pass

    class Named(Plain):
        fieldsets = ((None, {"fields": ("name",)}),)

    party = Party.objects.create(name="greens")
    party.command_logs.add(recorded)
    request = rf.get("/")
    request.user = User.objects.create_superuser("root", password="root")
    for shown in (Named(Party, site), Plain(Party, site)):
        fields = [field for _, options in shown.get_fieldsets(request, party) for field in options["fields"]]
        assert fields.count("touched_by") == 1
        assert "touched_by" not in str(shown.get_fieldsets(request))
        assert f"/admin/async_commander/run/{recorded.pk}/change/" in str(shown.touched_by(party))
    request.user = User.objects.create_user("staff", is_staff=True)
    assert "touched_by" not in str(Named(Party, site).get_fieldsets(request, party))
    assert Named(Party, site).touched_by(Party()) == "–"


def test_an_item_is_shown_without_what_it_is_run_again_with(recorded: Run, superuser: Client) -> None:
    RunItem.objects.update(label="https://********@example.org/", item="https://bob:hunter2@example.org/")
    html = superuser.get(f"/admin/async_commander/runitem/{RunItem.objects.get().pk}/change/").content.decode()
    assert "https://********@example.org/" in html
    assert "hunter2" not in html


def test_a_run_is_found_by_its_number_or_its_command(recorded: Run, superuser: Client) -> None:
    other = Run.objects.create(command="other", identity="1" * 64)
    for asked, found in ((recorded.pk, [recorded]), ("oth", [other]), ("%", []), ("4711 x", [])):
        page = superuser.get("/admin/async_commander/run/", {"q": asked})
        assert list(page.context["cl"].queryset) == found


def test_a_run_that_is_not_there_is_no_server_error(superuser: Client) -> None:
    assert superuser.get("/admin/async_commander/run/4711/change/", follow=True).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_not_even_a_superuser_adds_changes_or_deletes(recorded: Run, superuser: Client, page: str) -> None:
    first = {"run": Run, "runitem": RunItem, "runlog": RunLog, "objectlog": ObjectLog}[page].objects.get()
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


def test_a_run_whose_process_is_gone_is_shown_as_crashed_and_nothing_is_written(
    recorded: Run, superuser: Client
) -> None:
    Run.objects.update(status="running")
    Lease.objects.create(name=f"run:{recorded.pk}", host=this_host(), boot_id="an earlier boot", pid=1, epoch=1)
    for page in ("", f"{recorded.pk}/change/"):
        with CaptureQueriesContext(connection) as asked:
            html = superuser.get(f"/admin/async_commander/run/{page}").content.decode()
        assert ">crashed<" in html
        assert not [query for query in asked.captured_queries if not query["sql"].startswith(("SELECT", "DECLARE"))]
    recorded.refresh_from_db()
    assert recorded.status == "running"


# -- who may see what ------------------------------------------------------------------------------------------------


def urls(model: type[Any]) -> list[str]:
    base = f"/admin/async_commander/{model._meta.model_name}/"
    row = f"{base}{model.objects.first().pk}/"
    return [base, f"{base}add/", f"{row}change/", f"{row}history/", f"{row}delete/", row]


def reader(*permissions: str) -> Client:
    user = User.objects.create_user(f"reader of {permissions}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


SHOWN = (200, 403, 200, 200, 403)
"""The list, adding, one row, its changes in the admin, deleting it."""


@pytest.mark.parametrize("model", [Run, RunItem, RunLog])
@pytest.mark.parametrize(
    ("who", "answers"),
    [("anonymous", (302,) * 5), ("staff", (403,) * 5), ("another's", (403,) * 5), ("view", SHOWN), ("super", SHOWN)],
)
def test_who_gets_which_page(
    recorded: Run, superuser: Client, model: type[Any], who: str, answers: tuple[int, ...]
) -> None:
    name = model._meta.model_name
    others = [f"view_{other}" for other in PAGES if other != name]
    client = {
        "anonymous": Client,
        "staff": reader,
        "another's": lambda: reader(*others),
        "view": lambda: reader(f"view_{name}"),
        "super": lambda: superuser,
    }[who]()
    Run.objects.update(status="running")
    before = {each: list(each.objects.order_by("pk").values()) for each in (Run, RunItem, RunLog, Lease)}
    pages = urls(model)
    assert tuple(client.get(page).status_code for page in pages[:5]) == answers
    assert client.get(pages[5]).status_code in {302, 403}
    for page in pages:
        assert client.post(page, {"action": "delete_selected", "post": "yes"}).status_code in {200, 302, 403}
    assert {each: list(each.objects.order_by("pk").values()) for each in before} == before


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        *(
            ("runitem", f"item{lookup}")
            for lookup in ("", "__regex", "__contains", "__startswith", "__icontains", "__0")
        ),
        *(("runitem", f"run__{name}") for name in ("traceback__regex", "parameters__token", "leases", "output__gt")),
        *(("runitem", name) for name in ("error__regex", "label__regex", "worker__gt", "run__command", "next_at__lt")),
        *(("runlog", name) for name in ("message__regex", "run__value__contains", "run__error_kinds__example__regex")),
        *(("run", name) for name in ("once_key__startswith", "options__x__regex", "items__item__regex", "value__a")),
        *(("run", name) for name in ("logs__message__regex", "identity__regex", "parent__output__regex", "user")),
    ],
)
def test_what_is_not_named_cannot_be_asked_for(recorded: Run, superuser: Client, page: str, asked: str) -> None:
    RunItem.objects.update(item="https://bob:hunter2@example.org/")
    for value in ("hunter2", "^h", "1"):
        assert superuser.get(f"/admin/async_commander/{page}/", {asked: value}).status_code == 400


def test_no_list_is_ordered_or_searched_by_what_it_does_not_show(recorded: Run, superuser: Client) -> None:
    RunItem.objects.update(label="a label", item="hunter2")
    for page, hidden in (("runitem", "item"), ("run", "once_key"), ("runlog", "item_key")):
        address = f"/admin/async_commander/{page}/"
        for order in range(-12, 12):
            answer = superuser.get(address, {"o": str(order)}, follow=True)
            assert answer.status_code == 200
            assert hidden not in str(answer.context["cl"].queryset.query.order_by)
        assert superuser.get(address, {"_to_field": hidden}).status_code in {200, 302, 400}
    assert "0 run items" in superuser.get("/admin/async_commander/runitem/", {"q": "hunter2"}).content.decode()


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ("runlog", {"from_level": "9" * 5_000}),
        ("runlog", {"from_level": "²"}),
        ("runitem", {"reason": "a\x00b"}),
        ("runitem", {"state__exact": "\x00"}),
        ("runitem", {"run__id__exact": "none"}),
        ("run", {"q": "\x00"}),
        ("run", {"_facets": "True"}),
    ],
)
def test_whatever_is_asked_is_answered(recorded: Run, superuser: Client, page: str, asked: dict[str, str]) -> None:
    answer = superuser.get(f"/admin/async_commander/{page}/", asked, follow=True)
    assert answer.status_code in {200, 400}


def test_tracebacks_keep_their_lines_and_their_indentation(recorded: Run, superuser: Client) -> None:
    trace = "Traceback (most recent call last):\n    raise <b>Error</b>\n        ^^^^^"
    shown = ">Traceback (most recent call last):\n    raise &lt;b&gt;Error&lt;/b&gt;\n        ^^^^^</pre>"
    Run.objects.update(traceback=trace, output=trace, error=trace)
    RunItem.objects.update(error=trace)
    RunLog.objects.update(message=trace)
    RunErrorKind.objects.update(example=trace)
    for model, times in ((Run, 5), (RunItem, 1), (RunLog, 1)):
        html = superuser.get(urls(model)[2]).content.decode()
        assert html.count(shown) == times
        assert "async_commander/admin.css" in html
        assert "style=" not in html.partition('id="content-main"')[2].partition("<script")[0]


def test_a_silent_run_of_another_machine_is_not_shown_as_alive(recorded: Run, superuser: Client) -> None:
    later = timezone.now() + timedelta(seconds=30)
    Run.objects.update(status="running", expires=later)
    Lease.objects.create(name=f"run:{recorded.pk}", host="another machine", boot_id="x", pid=1, epoch=1)
    assert "no sign of life" not in superuser.get("/admin/async_commander/run/").content.decode()
    assert is_silent(Run(status="running", expires=timezone.now() - timedelta(seconds=1)))


def test_looking_at_runs_that_ended_asks_for_no_lock(
    recorded: Run, superuser: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(12) as asked:
        superuser.get("/admin/async_commander/run/")
    sent = [query["sql"] for query in asked.captured_queries]
    assert not [sql for sql in sent if not sql.startswith("SELECT") or "FOR UPDATE" in sql or "FOR SHARE" in sql]


def test_a_run_leads_to_its_items_and_its_log(recorded: Run, superuser: Client) -> None:
    other = Run.objects.create(command="other", identity="1" * 64)
    RunItem.objects.create(run=other, key="22345678-1234-5678-9234-567812345678", label="of another run", state="dead")
    RunItem.objects.create(run=recorded, key="32345678-1234-5678-9234-567812345678", label="fine", state="done")
    html = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    links = [unescape(link) for link in re.findall(r'href="([^"]*run__id__exact[^"]*)"', html)]
    shown = {link: superuser.get(link) for link in links}
    assert {one.status_code for one in shown.values()} == {200}
    assert not [link for link, one in shown.items() if "of another run" in one.content.decode()]
    (dead,) = (one.content.decode() for link, one in shown.items() if "state__exact=dead" in link)
    assert "fine" not in dead
    (log,) = (one.content.decode() for link, one in shown.items() if "/runlog/" in link)
    assert "1 run log" in log
    assert [link for link in links if "error_kind=HTTPStatusError%20500" in link]


def test_the_links_are_for_those_who_may_follow_them(recorded: Run) -> None:
    staff = User.objects.create_user("staff", password="staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_run"))
    client = Client()
    client.force_login(staff)
    html = client.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    assert "run__id__exact" not in html


def test_the_rate_of_a_resumed_run_is_not_told(recorded: Run, superuser: Client) -> None:
    Lease.objects.create(name=f"run:{recorded.pk}", epoch=2)
    html = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    assert "resumed: the time it took counts its pauses" in html


def test_levels_are_told_by_name_and_chosen_from_one_on(recorded: Run, superuser: Client) -> None:
    RunLog.objects.create(run=recorded, at=timezone.now(), level=20, logger="shop", message="an information")
    every = superuser.get("/admin/async_commander/runlog/").content.decode()
    assert ">ERROR<" in every
    assert "an information" in every
    assert "an information" not in superuser.get("/admin/async_commander/runlog/?from_level=30").content.decode()
    line = superuser.get(f"/admin/async_commander/runlog/{RunLog.objects.first().pk}/change/").content.decode()
    assert "ERROR" in line or "INFO" in line


def test_items_are_chosen_by_their_reason(recorded: Run, superuser: Client) -> None:
    assert "1 run item" in superuser.get("/admin/async_commander/runitem/?reason=permanent").content.decode()
    assert "0 run items" in superuser.get("/admin/async_commander/runitem/?reason=crashed").content.decode()


def test_each_reason_that_this_package_has_can_be_chosen() -> None:
    known, rest = set[str](), [ItemError]
    while rest:
        error = rest.pop()
        rest += error.__subclasses__()
        if error.__module__.startswith("async_commander."):
            known.add(error.reason)
    assert {RowRejected.reason, ProxyRefuses.reason} < known
    assert known <= set(REASONS)


def test_search_and_filters_answer(recorded: Run, superuser: Client) -> None:
    assert "scrapers_fetch" in superuser.get("/admin/async_commander/run/?q=scrapers&status=partial").content.decode()
    assert "0 runs" in superuser.get("/admin/async_commander/run/?status=succeeded").content.decode()


# -- the list and the page in full -----------------------------------------------------------------------------------


def test_no_list_asks_more_for_more_rows(recorded: Run, superuser: Client) -> None:
    def asked(page: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            superuser.get(f"/admin/async_commander/{page}/")
        return len(queries)

    asked("run")  # what is remembered once
    before = {page: asked(page) for page in PAGES}
    for number in range(20):
        run = Run.objects.create(command=f"c{number}", status="running", expires=timezone.now() + timedelta(hours=1))
        Lease.objects.create(name=f"run:{run.pk}", host="another machine", boot_id="x", pid=1, epoch=1)
        RunItem.objects.create(run=run, key=f"12345678-1234-5678-9234-5678123456{number:02}", state="done")
        RunLog.objects.create(run=run, at=timezone.now(), level=20, logger="shop", message="text")
        kind = ContentType.objects.get_for_model(User)
        ObjectLog.objects.create(run=run, content_type=kind, object_id="1", action="created")
    after = {page: asked(page) for page in PAGES}
    assert {page: number - before[page] for page, number in after.items()} == {
        "run": 1 if connection.vendor == "sqlite" else 2,  # the leases of all that run, and the server's clock
        "runitem": 0, "runlog": 0, "objectlog": 0,
    }  # fmt: skip


def test_runs_are_found_by_a_value_of_their_arguments_and_by_their_error(superuser: Client) -> None:
    one = Run.objects.create(command="a", parameters={"domain": "Bücher.example", "pages": 12})
    two = Run.objects.create(command="b", parameters={"domain": "other.example"}, error="no price in 100%")
    for asked, found in (
        ("domain=bücher.example", [one]),
        ("bücher", [one]),
        ("domain=example", []),
        ("pages=12", [one]),
        ("price 100%", [two]),
        ('"no price"', [two]),
        ("other price", [two]),
        ("other a", [two]),
        ("x__y=1", []),
        ("=", []),
        ("a" * 500, []),
    ):
        page = superuser.get("/admin/async_commander/run/", {"q": asked})
        assert list(page.context["cl"].queryset) == found, asked


def test_runs_are_narrowed_by_command_status_user_and_date(recorded: Run, superuser: Client) -> None:
    old = Run.objects.create(command="other", user="ada", status="failed", started=timezone.now() - timedelta(days=40))
    for asked, found in (
        ({"command__exact": "other"}, [old]),
        ({"user__exact": "ada"}, [old]),
        ({"status__exact": "partial"}, [recorded]),
        ({"started__gte": (timezone.now() - timedelta(days=1)).isoformat()}, [recorded]),
    ):
        page = superuser.get("/admin/async_commander/run/", asked)
        assert list(page.context["cl"].queryset) == found, asked


def test_lists_are_counted_only_as_far_as_pages_are_turned(
    recorded: Run, superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_commander.admin.pages.COUNTED", 5)
    monkeypatch.setattr("async_commander.admin.pages.SEARCHED", 3)
    runs = [Run.objects.create(command="other") for _ in range(9)]
    with CaptureQueriesContext(connection) as asked:
        page = superuser.get("/admin/async_commander/run/")
    assert page.context["cl"].result_count == 5
    counts = [query["sql"] for query in asked.captured_queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 5" in sql for sql in counts)
    found = superuser.get("/admin/async_commander/run/", {"q": "other"}).context["cl"].queryset
    assert list(found) == runs[:-4:-1]


def test_what_is_new_on_a_page_is_told_from_a_cursor_on(recorded: Run, superuser: Client) -> None:
    Run.objects.update(status="running", total=10, expires=timezone.now() + timedelta(hours=1))
    Lease.objects.create(name=f"run:{recorded.pk}", host="another machine", boot_id="x", pid=1, epoch=1)
    page = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/")
    live = page.context["live"]
    assert f'data-live="{live}"' in page.content.decode()
    first = superuser.get(live, {"cursor": page.context["cursor"]}).json()
    assert (first["ended"], first["state"], first["log"]) == (False, "running", "")
    assert "30 %" in first["parts"]["now"]
    assert HOSTILE not in str(first)
    RunLog.objects.create(run=recorded, at=timezone.now(), level=20, logger="shop", message=f"new {HOSTILE}")
    Run.objects.update(status="succeeded", finished=timezone.now(), output="at last")
    with CaptureQueriesContext(connection) as asked:
        last = superuser.get(live, {"cursor": first["cursor"]}).json()
    assert not [query["sql"] for query in asked.captured_queries if not query["sql"].startswith(("SELECT", "DECLARE"))]
    assert last["ended"]
    assert "new &lt;script&gt;" in last["log"]
    assert last["log"].count("<tr") == 1
    assert "at last" in last["parts"]["ending"]
    assert superuser.get(live, {"cursor": last["cursor"]}).json()["log"] == ""
    for wrong in ("", "x", "1.y", "-1.-1", "9" * 40, "²"):
        assert superuser.get(live, {"cursor": wrong}).status_code == 200


def test_a_page_that_has_ended_asks_for_nothing(recorded: Run, superuser: Client) -> None:
    html = superuser.get(f"/admin/async_commander/run/{recorded.pk}/change/").content.decode()
    assert "data-live" not in html
    assert "live.js" not in html


def test_what_is_new_is_for_those_who_may_read_it(recorded: Run, superuser: Client) -> None:
    live = f"/admin/async_commander/run/{recorded.pk}/live/"
    assert Client().get(live).status_code == 302
    assert reader().get(live).status_code == 404
    assert superuser.get("/admin/async_commander/run/4711/live/").status_code == 404
    told = reader("view_run").get(live).json()
    assert HOSTILE not in str(told)
    assert (told["log"], "objectlog" in str(told), "runitem" in str(told)) == ("", False, False)


def test_log_lines_of_a_page_begin_with_a_level(recorded: Run, superuser: Client) -> None:
    RunLog.objects.create(run=recorded, at=timezone.now(), level=20, logger="shop", message="an information")
    page = f"/admin/async_commander/run/{recorded.pk}/change/"
    assert "an information" in superuser.get(page).content.decode()
    assert "an information" not in superuser.get(f"{page}?level=30").content.decode()
    assert "an information" in superuser.get(f"{page}?level=nine").content.decode()


@pytest.mark.parametrize("page", ["run/", "run/{}/change/", "runitem/", "runlog/", "objectlog/"])
def test_pages_hold_nothing_that_a_strict_policy_forbids(recorded: Run, superuser: Client, page: str) -> None:
    RunBucket.objects.create(run=recorded, at=recorded.started, stage="item", count=2, histogram=[0, 2])
    html = superuser.get(f"/admin/async_commander/{page.format(recorded.pk)}").content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)[^>]*>", html)
