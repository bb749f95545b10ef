"""`manage.py aruns`: the table and the page, on either database."""

from __future__ import annotations

import io
import json
import re
import traceback
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line
from django.core.management.color import no_style
from django.utils import timezone

from async_commander.history.lease import establish
from async_commander.history.ownership import this_host
from async_commander.management.commands.aruns import ACTIONS
from async_commander.management.run_page import RunPage
from async_commander.management.runs import table
from async_commander.management.steering import at_terminal
from async_commander.models import Lease, Run, RunBucket, RunErrorKind, RunItem, RunLog

pytestmark = pytest.mark.django_db


def aruns(*args: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("aruns", *map(str, args), stdout=out, **options)
    return out.getvalue()


def run(command: str = "scrapers_fetch", status: str = "partial", **more: Any) -> Run:
    started = timezone.now() - timedelta(seconds=100)
    words: dict[str, Any] = {"started": started, "finished": started + timedelta(seconds=10), **more}
    return Run.objects.create(command=command, status=status, **words)


@pytest.fixture
def partial() -> Run:
    one = run(taken=200, done=197, dead=3, total=200, parameters={"domain": "example.org"}, user="ann", host="web1")
    RunErrorKind.objects.create(run=one, kind="ValueError", count=1200, example="no \x1b[31mtitle\n[bold]", item="1")
    RunErrorKind.objects.create(run=one, kind="TimeoutError", count=3, example="nothing came", item="2")
    for label, reason, attempts in [("https://e.org/\x1b]0;x\x07a", "permanent", 1), ("b", "exhausted", 3)]:
        RunItem.objects.create(
            run=one,
            key=uuid4(),
            label=label,
            state="dead",
            reason=reason,
            error_kind="ValueError",
            error="no title",
            attempts=attempts,
        )
    RunItem.objects.create(run=one, key=uuid4(), label="fine", state="done")
    RunLog.objects.create(run=one, at=one.started, level=30, logger="x", message="slow \x1b[2Jserver")
    return one


def test_without_runs_it_says_so() -> None:
    assert aruns() == "No runs.\n"


def test_runs_are_listed_newest_first(partial: Run) -> None:
    newer = run("greet", "succeeded")
    head, first, second = aruns().splitlines()
    assert head.split() == ["run", "command", "status", "started", "took", "items", "dead", "rate"]
    assert re.match(rf" *{newer.pk}  greet           succeeded  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  10 s", first)
    assert re.match(rf" *{partial.pk}  scrapers_fetch  partial    .*10 s +200 +3 +20/s", second)


def test_the_list_can_be_narrowed(partial: Run) -> None:
    newer = [run("greet", "succeeded") for _ in range(3)]
    assert [one["run"] for one in json.loads(aruns(json=True))] == [*(one.pk for one in newer[::-1]), partial.pk]
    assert [one["run"] for one in json.loads(aruns("list", "--command", "scrapers_fetch", "--json"))] == [partial.pk]
    assert [one["run"] for one in json.loads(aruns(status="succeeded", limit=1, json=True))] == [newer[-1].pk]


@pytest.fixture
def count(settings: Any) -> None:
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.acceptance.terminal.called"]}


@pytest.mark.usefixtures("count")
@pytest.mark.parametrize("name", ["count", "called.count"])
def test_a_command_is_named_as_arun_takes_it(name: str) -> None:
    wanted = [run("count"), run("called.count")]
    run("greet")
    assert {one["run"] for one in json.loads(aruns("--command", name, "--json"))} == {one.pk for one in wanted}


def test_the_runs_of_a_command_that_is_gone_are_found_by_its_name(partial: Run) -> None:
    run("gone")
    assert [one["command"] for one in json.loads(aruns("--command", "gone", "--json"))] == ["gone"]


def test_a_resumed_run_has_no_rate_and_says_that_its_pauses_count(partial: Run) -> None:
    Run.objects.update(status="succeeded")
    Lease.objects.create(name=f"run:{partial.pk}", epoch=1)
    assert re.search(r"20/s$", aruns(), re.MULTILINE)
    Lease.objects.update(epoch=2)
    assert re.search(r"resumed$", aruns(), re.MULTILINE)
    assert "rate" not in aruns("show")
    assert ", 10 s after its first start; it was resumed, the pauses count\n" in aruns("show")
    assert json.loads(aruns("show", "--json"))["resumed"] is True


def test_a_crash_that_somebody_noticed_is_no_second_sitting(partial: Run) -> None:
    Run.objects.update(status="crashed")
    Lease.objects.create(name=f"run:{partial.pk}", epoch=2)
    assert "resumed" not in aruns()
    Lease.objects.update(epoch=3)
    assert "resumed" in aruns()


def test_a_log_line_is_shown_without_the_calls_of_its_traceback(partial: Run) -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("the broker is away") from error
    except ValueError:
        told = "committed() failed\n" + traceback.format_exc()
    RunLog.objects.create(run=partial, at=partial.started, level=40, logger="x", message=told)
    assert "ERROR   committed() failed ValueError: the broker is away\n" in aruns("show")


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    started = timezone.now()
    long = run("a_command_with_a_very_long_name_" * 3, started=started, finished=started, taken=10_000_000)
    head, line = table([long], no_style(), width=width)
    assert len(head) <= width
    assert len(line) <= width
    assert line.split()[0] == str(long.pk)
    assert ("partial" in line) is (width > 20)


def test_at_eighty_columns_only_the_year_goes(partial: Run) -> None:
    head, line = table([partial], no_style(), width=len(table([partial], no_style())[1]) - 1)
    assert "scrapers_fetch" in line
    assert head.split() == ["run", "command", "status", "started", "took", "items", "dead", "rate"]
    assert f"  {timezone.localtime(partial.started):%m-%d %H:%M:%S}  " in line


def test_failed_items_that_are_too_wide_for_the_terminal_are_told_in_two_lines(partial: Run) -> None:
    wide = "".join(RunPage(partial, no_style(), width=200).lines())
    assert "https://e.org/a  permanent  ValueError no title" in wide
    narrow = [*RunPage(partial, no_style(), width=40).lines()]
    place = narrow.index("  https://e.org/a")
    assert narrow[place + 1] == "    permanent  ValueError no title"


def test_where_nothing_ran_there_is_nothing_to_show() -> None:
    with pytest.raises(CommandError, match=r"^There are no runs yet\.$") as raised:
        aruns("show")
    assert raised.value.returncode == 1


@pytest.mark.parametrize("message", ["", "\n"])
def test_a_log_line_that_says_nothing_is_a_line_all_the_same(message: str) -> None:
    one = run("quiet")
    RunLog.objects.create(run=one, at=one.started, level=30, logger="x", message=message)
    assert "WARNING" in aruns("show", one.pk, verbosity=2)
    assert "WARNING" in aruns("show", one.pk)


def test_a_run_that_misses_its_heartbeats_is_not_shown_as_alive() -> None:
    past = timezone.now() - timedelta(seconds=50)
    silent = run(status="running", finished=None, heartbeat=past, expires=past + timedelta(seconds=30))
    alive = run(
        status="running", finished=None, heartbeat=timezone.now(), expires=timezone.now() + timedelta(seconds=30)
    )
    for one in (silent, alive):  # both belong to a process that exists: this one
        establish("default", one.pk)
    assert "no sign of life" in aruns()
    assert "no sign of life since" in aruns("show", silent.pk)
    assert "no sign of life" not in aruns("show", alive.pk)
    assert re.search(r"finished +not yet, after 1:\d\d min", aruns("show", alive.pk))


def test_a_run_whose_process_is_gone_is_told_as_crashed() -> None:
    orphan = run(status="running", finished=None, heartbeat=timezone.now())
    Lease.objects.create(name=f"run:{orphan.pk}", host=this_host(), boot_id="an earlier boot", pid=1, epoch=1)
    assert re.search(rf" *{orphan.pk} +\S+ +crashed", aruns())
    orphan.refresh_from_db()
    assert orphan.status == "crashed"


def test_one_run_is_shown_in_full(partial: Run) -> None:
    page = aruns("show", partial.pk)
    for part in (
        f"Run {partial.pk}  scrapers_fetch  partial\n",
        "by ann on web1 (call)",
        "200 items: 197 done, 3 dead\n",
        "arguments  domain=example.org\n",
        "Errors, those of earlier attempts included\n",
        "  1,200  ValueError    no title [bold]\n      3  TimeoutError  nothing came\n",
        "  https://e.org/a  permanent  ValueError no title\n",
        "  b                exhausted  ValueError no title (3 attempts)\n",
        "WARNING slow server\n",
    ):
        assert part in page
    assert "fine" not in page
    assert "\x1b" not in page


def test_without_an_id_the_newest_run_is_shown(partial: Run) -> None:
    assert f"Run {partial.pk} " in aruns("show")


def test_output_and_traceback_are_shown_at_verbosity_2() -> None:
    failed = run("greet", "failed", error="ValueError: no", output="Hello\n", traceback="Traceback:\n  File x\x1b[0m\n")
    short, full = aruns("show", failed.pk), aruns("show", failed.pk, verbosity=2)
    assert "ValueError: no" in short
    assert "Traceback" not in short
    assert "Output\n  Hello\n" in full
    assert "Traceback\n  Traceback:\n    File x\n" in full


def test_the_steps_of_a_plain_command_are_shown(partial: Run) -> None:
    stepped = run("close_month", "crashed")
    made = timezone.now() - timedelta(days=1)
    for number in range(12):
        what = {"label": f"load({number})", "state": "done", "reason": "step", "parse_ms": 1500, "started": made}
        RunItem.objects.create(run=stepped, key=uuid4(), item='"secret enough"', **what)
    page = aruns("show", stepped.pk)
    assert "\nSteps that are kept, the last 10 of 12\n" in page
    assert re.search(r"\n  load\(2\) +1\.5 s  \S+ \S+\n", page)
    assert "load(1)" not in page
    assert "secret enough" not in page
    assert "\nSteps that are kept\n" in aruns("show", stepped.pk, verbosity=2)
    steps = json.loads(aruns("show", stepped.pk, json=True))["steps"]
    assert (len(steps), steps[0]["label"], steps[0]["milliseconds"]) == (10, "load(2)", 1500)
    assert "Steps" not in aruns("show", partial.pk)


def test_how_far_a_source_is_settled_is_shown_without_its_cursor(partial: Run) -> None:
    assert "source" not in aruns("show", partial.pk)
    Run.objects.update(cursor='1200 "https://bob:hunter2@example.org/"')
    page = aruns("show", partial.pk)
    assert "source     settled up to item 1,200\n" in page
    assert "hunter2" not in page


def test_long_lists_are_cut_and_say_so(partial: Run) -> None:
    for number in range(15):
        RunItem.objects.create(run=partial, key=uuid4(), label=f"item{number}", state="dead")
    Run.objects.update(dead=17)
    assert "Dead items, the first 10 of 17" in aruns("show")
    assert "Dead items\n" in aruns("show", verbosity=2)


@pytest.mark.parametrize(
    ("number", "title", "at_verbosity_2"),
    [
        (9, "Log\n", "Log\n"),
        (17, "Log, the last 10 of 18 lines; -v 2 has all\n", "Log\n"),
        (120, "Log, the last 10 of 121 lines; -v 2 has 100 of them\n", "Log, the last 100 of 121 lines\n"),
    ],
)
def test_a_log_that_is_cut_says_so(partial: Run, number: int, title: str, at_verbosity_2: str) -> None:
    line = {"run": partial, "at": partial.started, "level": 20, "logger": "x", "message": "said"}
    RunLog.objects.bulk_create([RunLog(**line) for _ in range(number)])
    assert f"\n{title}" in aruns("show")
    assert f"\n{at_verbosity_2}" in aruns("show", verbosity=2)


def test_the_page_is_there_for_programs(partial: Run) -> None:
    document = json.loads(aruns("show", partial.pk, json=True))
    assert (document["run"], document["status"], document["duration"]) == (partial.pk, "partial", 10)
    assert document["counts"] == {"taken": 200, "done": 197, "skipped": 0, "dead": 3, "retry": 0, "claimed": 0}
    assert [kind["kind"] for kind in document["errors"]] == ["ValueError", "TimeoutError"]
    assert [one["reason"] for one in document["dead"]] == ["permanent", "exhausted"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show 99999", "There is no run 99999."),
        ("show last", "'last' is no whole number"),
        ("7", "There is no run 7"),
        ("7 8", "one argument too many: '8'"),
        (
            "shw",
            "retry, requeue, prune, nor a number. Did you mean show?",
        ),
        ("--command cuont", "There are no runs of 'cuont', and there is no command 'cuont'"),
        ("show --command cuont", "there is no command 'cuont'"),
        ("list 7", "To see one run: aruns show 7"),
        ("--database nope", "There is no database 'nope'"),
        ("--status done", "invalid choice: 'done'"),
        ("show 5 --status failed", "show 5 names its run: leave --status out"),
        ("show 5 --command greet", "show 5 names its run: leave --command out"),
        ("show --limit 3", "show has no use for it: leave --limit out"),
    ],
)
def test_a_mistake_is_named(line: str, said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        aruns(*line.split())


@pytest.mark.usefixtures("count")
def test_a_command_that_has_not_run_yet_is_no_mistake() -> None:
    assert aruns("--command", "count") == "No runs.\n"
    assert json.loads(aruns("--command", "called.count", "--json")) == []


def test_only_a_run_that_was_named_is_wrong_usage() -> None:
    for arguments, code in ((["show", "99999"], 2), (["show"], 1)):
        with pytest.raises(CommandError) as refused:
            aruns(*arguments)
        assert refused.value.returncode == code


@pytest.mark.parametrize(
    ("action", "has", "lacks"),
    [
        ("prune", "--keep-runs", "--threads"),
        ("list", "--limit", "--days"),
        ("limits", "--per-host", "--batch-size"),
        ("tail", "--database", "--json"),
        ("answer", "{yes,no}", "--status"),
    ],
)
def test_each_action_has_a_help_of_its_own(
    action: str, has: str, lacks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", "aruns", action, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith(f"usage: manage.py aruns {action} ")
    assert has in shown
    assert lacks not in shown


def test_the_help_names_each_action(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        execute_from_command_line(["manage.py", "aruns", "--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {action} ", shown, re.MULTILINE) for action in ACTIONS)


def test_a_run_that_waits_or_is_paused_is_shown_as_that() -> None:
    now = timezone.now()
    alive = {"finished": None, "heartbeat": now, "expires": now + timedelta(seconds=30)}
    pause = {"to": True, "by": "ada on web1", "at": now.isoformat()}
    paused = run(status="running", orders={"pause": pause}, limits={"threads": 2}, **alive)
    waiting = run(status="waiting", question="Delete 5 rows?", limits={"threads": 2}, **alive)
    for one in (paused, waiting):
        establish("default", one.pk)
    assert re.search(rf" *{paused.pk} +\S+ +paused ", aruns())
    assert re.search(rf" *{waiting.pk} +\S+ +waiting ", aruns())
    assert re.search(rf"paused +by ada on web1, .*; aruns resume {paused.pk} lets it go on", aruns("show", paused.pk))
    assert json.loads(aruns(paused.pk, json=True))["paused"]["by"] == "ada on web1"
    assert re.search(r"question +Delete 5 rows\?", aruns("show", waiting.pk))
    assert aruns("answer", waiting.pk) == f"Delete 5 rows?\naruns answer {waiting.pk} yes, or no, answers that.\n"
    assert aruns("pause", paused.pk).startswith(f"Run {paused.pk} is paused already, by ada on web1, ")
    assert aruns("resume", paused.pk).startswith(f"Run {paused.pk} is asked to go on: process None on ")
    assert aruns("resume", paused.pk) == f"Run {paused.pk} is not paused: it is running.\n"
    limits = aruns("limits", paused.pk, "--threads", "4", "--per-host", "none", "--timeout", "1m")
    assert re.search(r"^threads +4 +by ", limits, re.MULTILINE)
    assert re.search(r"^timeout +60.0 +by ", limits, re.MULTILINE)
    assert json.loads(aruns("limits", paused.pk, json=True))["limits"]["threads"] == 4
    assert aruns("answer", waiting.pk, "no").startswith(f"Run {waiting.pk} is answered with no: ")
    with pytest.raises(CommandError, match="was answered before: no by"):
        aruns("answer", waiting.pk, "yes")
    assert re.search(rf"changed +threads by {at_terminal()}, ", aruns("show", paused.pk))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limits {} --processes 2", "processes cannot be changed while a run is at work"),
        ("limits {} --threads 2", "is not at work: it is interrupted."),
        ("resume {}", r"it is interrupted. To go on with it: manage.py arun scrapers_fetch --resume-run "),
        ("answer {} yes", "is not at work"),
        ("tail", "Name the run: aruns tail ID"),
        ("tail 99999", "There is no run 99999"),
    ],
)
def test_what_cannot_be_asked_of_a_run_says_why(line: str, said: str) -> None:
    ended = run(status="interrupted", limits={"threads": 2})
    with pytest.raises(CommandError, match=said):
        aruns(*line.format(ended.pk).split())


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("partial", 3), ("failed", 1), ("interrupted", 1)])
def test_tail_shows_the_last_lines_and_ends_as_the_run_did(status: str, code: int) -> None:
    one = run(status=status, taken=2, done=2, error="for a reason")
    lines = [RunLog(run=one, at=one.started, level=20, logger="x", message=f"line {number}") for number in range(15)]
    RunLog.objects.bulk_create(lines)
    out = io.StringIO()
    if code:
        with pytest.raises(CommandError) as raised:
            call_command("aruns", "tail", one.pk, stdout=out)
        assert raised.value.returncode == code
    else:
        call_command("aruns", "tail", one.pk, stdout=out)
    shown = out.getvalue().splitlines()
    assert [line.rpartition("INFO    ")[2] for line in shown[:-1]] == [f"line {number}" for number in range(5, 15)]
    assert shown[-1] == f"Run {one.pk}  scrapers_fetch  {status}, 2 items: 2 done, 0.2/s, 10 s, for a reason"


def test_the_page_of_a_run_has_its_speed_as_bars() -> None:
    one = run(taken=300, done=300)
    for place, count in enumerate([100, 0, 200]):
        if count:
            at = one.started + timedelta(seconds=10 * place)
            RunBucket.objects.create(run=one, at=at, seconds=10, stage="item", count=count)
    assert re.search(r"speed +▅ █  up to 20/s", aruns("show", one.pk))
    assert json.loads(aruns("show", one.pk, json=True))["speed"] == [10.0, 0.0, 20.0]
