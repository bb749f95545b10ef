"""The dead items of a run, once more: which are taken, from where, and what the run comes to."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.db.models import F, Value

import async_commander as ac
from async_commander.models import Run, RunErrorKind, RunItem, RunLog
from tests.testapp.models import Author, Tag

from .failing import QUICK, failed, tags
from .ledger import end_without_a_word, give_lease, items_of, labels_of, row_of


class Letters(ac.IterateDownloadCommand[str, str]):
    """Letters that are saved as tags, but for those that `fails` knows, with their error."""

    prefix: str = ""

    retry = QUICK
    limits = ac.Limits(threads=2, batch_size=2, max_failures=None)
    letters = "abcdef"
    fails: ClassVar[dict[str, Exception]] = {}
    downloads: ClassVar[list[str]] = []
    reads = 0

    async def iterate(self):
        type(self).reads += 1
        for letter in self.letters:
            yield letter

    async def download(self, item: str) -> str:
        self.downloads.append(item)
        if item in self.fails:
            raise self.fails[item]
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=self.prefix + payload))


@pytest.fixture
def letters() -> type[Letters]:
    """A class of its own for the test, two of whose items fail in one way, and one in another."""
    fails = {"b": ValueError("no b"), "d": ValueError("no d"), "e": KeyError("no e")}
    return type("Letters", (Letters,), {"fails": fails, "downloads": [], "__module__": __name__})


def test_only_dead_items_are_taken_again_without_the_source(run: Any, letters: type[Letters]) -> None:
    first = run(letters, prefix="x")
    assert (first.status, first.counts["dead"], letters.reads) == ("partial", 3, 1)
    letters.fails = {"d": LookupError("still no d")}
    letters.downloads.clear()

    result = run(letters, retry_failed=first.run_id)
    assert (result.run_id, result.status) == (first.run_id, "partial")
    row = row_of(result)
    assert (row.done, row.dead, row.taken, row.source_ended, row.total) == (5, 1, 6, True, 6)
    assert (sorted(letters.downloads), letters.reads) == (["b", "d", "e"], 1)
    assert tags() == "xaxbxcxexf"
    (dead,) = items_of(result, state="dead")
    assert (dead.label, dead.error_kind, dead.attempts) == ("d", "LookupError", 1)

    letters.fails = {}
    assert row_of(letters_again := run(letters, retry_failed=first.run_id)).status == "succeeded"
    assert letters_again.counts["done"] == 6


def test_its_log_has_the_ends_before_and_its_errors_are_those_of_all_attempts(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    letters.fails = {}
    run(letters, retry_failed=first.run_id, user="ada")
    line = RunLog.objects.get(run_id=first.run_id, message__startswith="Opened again")
    assert line.message.startswith("Opened again by ada for 3 of 3 items dead. Before that it was partial on ")
    assert line.message.endswith("3 done, 0 skipped, 3 dead.")
    kinds = dict(RunErrorKind.objects.filter(run_id=first.run_id).values_list("kind", "count"))
    assert kinds == {"ValueError": 2, "KeyError": 1}


@pytest.mark.parametrize(
    ("only", "taken"),
    [("KeyError", "e"), (["KeyError", "ValueError"], "bde"), ("permanent", "bde"), (("KeyError", "permanent"), "bde")],
)
def test_kinds_of_errors_and_reasons_choose(run: Any, letters: type[Letters], only: Any, taken: str) -> None:
    first = run(letters)
    letters.fails, letters.downloads = {}, []
    result = run(letters, retry_failed=first.run_id, only_kind=only)
    assert "".join(sorted(letters.downloads)) == taken
    assert (result.status, result.counts["dead"]) == (("succeeded", 0) if taken == "bde" else ("partial", 2))
    row_of(result)


def test_an_unknown_kind_says_which_there_are(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    with pytest.raises(ac.InvalidCommand) as error:
        run(letters, retry_failed=first.run_id, only_kind=["KeyError", "ValueErorr"])
    assert str(error.value) == (
        f"No dead item of run {first.run_id} is of the kind 'ValueErorr'. Did you mean 'ValueError'? "
        "3 items are dead. Errors: ValueError (2), KeyError (1). Reasons: permanent (3)."
    )
    assert row_of(first).dead == 3


def test_a_run_without_dead_items_is_left_alone(run: Any, letters: type[Letters]) -> None:
    letters.fails = {}
    first = run(letters)
    before = list(Run.objects.values())
    result = run(letters, retry_failed=first.run_id)
    assert (result.status, result.exit_code, result.run_id) == ("skipped", 0, None)
    assert result.reason == f"Run {first.run_id} has no dead items: nothing was done."
    assert list(Run.objects.values()) == before
    assert not RunLog.objects.filter(message__startswith="Opened again").exists()


def test_attempts_and_crashes_begin_anew(run: Any, letters: type[Letters]) -> None:
    letters.fails = {"b": ConnectionError("away")}
    first = run(letters)
    assert items_of(first, state="dead")[0].attempts == 3
    RunItem.objects.filter(run_id=first.run_id, label="b").update(crashes=3, reason="crashed")
    letters.downloads.clear()
    result = run(letters, retry_failed=first.run_id, only_kind="crashed")
    (dead,) = items_of(result, state="dead")
    assert (letters.downloads, dead.attempts, dead.crashes, dead.reason) == (["b"] * 3, 3, 0, "exhausted")


def test_max_failures_counts_anew(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    letters.fails = {"d": ValueError("no d")}
    assert run(letters, retry_failed=first.run_id, max_failures=1).counts["dead"] == 1
    letters.fails = {}
    assert run(letters, retry_failed=first.run_id, max_failures=0).status == "succeeded"


def test_what_json_cannot_keep_is_found_in_the_source(run: Any) -> None:
    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def __str__(self) -> str:
            return self.name

    class Things(ac.IterateDownloadCommand[Thing, str]):
        fails = "bdf"
        letters = "abcdef"
        limits = ac.Limits(threads=1, batch_size=1, max_failures=None)

        def item_key(self, item: Thing) -> str:
            return item.name

        async def iterate(self):
            for letter in self.letters:
                type(self).last = letter
                yield Thing(letter)

        async def download(self, item: Thing) -> str:
            if item.name in self.fails:
                raise ValueError(item.name)
            return item.name

        async def parse_and_save(self, item: Thing, payload: str) -> None:
            self.db.add(Tag(name=payload))

    first = run(Things)
    assert (first.counts["dead"], items_of(first, state="dead")[0].item) == (3, None)
    Things.fails, Things.letters = "", "xabcdeyz"  # f left the source, others came
    result = run(Things, retry_failed=first.run_id)
    row = row_of(result)
    assert (row.status, row.taken, row.done, row.dead) == ("partial", 6, 5, 1)
    assert tags() == "abcde"
    (dead,) = items_of(result, state="dead")
    assert (dead.reason, dead.error) == ("permanent", "f")


def test_rows_are_as_the_source_gives_them(run: Any) -> None:
    class Authors(ac.IterateDownloadCommand[Author, str]):
        fails = True
        said: ClassVar[list[str]] = []

        async def iterate(self):
            return Author.objects.annotate(shout=Value("!"), twice=F("pk") * 2)

        async def download(self, item: Author) -> str:
            if self.fails:
                raise ValueError("no")
            return item.shout  # type: ignore[attr-defined]

        async def parse_and_save(self, item: Author, payload: str) -> None:
            self.said.append(f"{item.name}{payload}{item.twice == 2 * item.pk}")  # type: ignore[attr-defined]

    Author.objects.create(name="ada")
    first = failed(run, Authors())
    Author.objects.create(name="bob")
    Authors.fails = False
    result = run(Authors, retry_failed=first.run_id)
    assert (result.status, Authors.said) == ("succeeded", ["ada!True"])


def test_a_run_that_came_to_no_end_goes_on_with_the_rest_too(run: Any, letters: type[Letters]) -> None:
    letters.letters = "abcdefghijklmnopqrst"
    letters.limits = ac.Limits(threads=1, batch_size=1, max_failures=1)
    first = failed(run, letters())
    assert (first.counts["dead"] >= 2, first.counts["done"] < 17) == (True, True)
    letters.fails = {"e": KeyError("no e")}
    result = run(letters, retry_failed=first.run_id)
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 19, 1)
    assert tags() == letters.letters.replace("e", "")
    row_of(result)


def test_a_resume_of_a_run_whose_items_are_all_dead_asks_the_source(run: Any, letters: type[Letters]) -> None:
    letters.fails = {letter: ValueError() for letter in "abcdef"}
    first = failed(run, letters())
    letters.letters = "abcdefg"
    result = run(letters, resume=True)
    assert (result.run_id, result.status, result.counts["done"], tags()) == (first.run_id, "partial", 1, "g")
    letters.fails, letters.letters = {}, "abcdefgh"
    assert (run(letters, retry_failed=first.run_id).status, tags()) == ("succeeded", "abcdefg")


def test_a_retry_that_is_killed_is_completed_by_a_resume_without_the_source(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    items = RunItem.objects.filter(run_id=first.run_id)
    items.filter(label="b").update(state="claimed")
    items.filter(label="d").update(state="retry", next_at=F("started"))
    Run.objects.filter(pk=first.run_id).update(dead=1, retry=1, claimed=1)
    end_without_a_word(first.run_id, "b", source_ended=True)  # in the middle of a retry of these two
    letters.fails, letters.reads, letters.letters = {}, 0, "abcdefgh"
    result = run(letters, resume=True)
    row = row_of(result)
    assert (result.run_id, row.status, row.done, row.dead, letters.reads) == (first.run_id, "partial", 5, 1, 0)
    assert items_of(result, label="b")[0].crashes == 1


def test_a_key_that_is_to_happen_once_is_taken_again(run: Any, letters: type[Letters]) -> None:
    letters.run_once = True
    first = run(letters)
    letters.fails = {}
    assert run(letters, retry_failed=first.run_id).status == "succeeded"
    assert Run.objects.get(pk=first.run_id).once_key == Run.objects.get(pk=first.run_id).identity
    assert "is to run once" in run(letters).reason


def test_a_run_that_has_happened_meanwhile_is_said(run: Any, letters: type[Letters]) -> None:
    letters.run_once = True
    first = run(letters)
    letters.fails = {}
    Tag.objects.all().delete()
    second = run(letters)
    result = run(letters, retry_failed=first.run_id)
    assert (result.status, f"run {second.run_id} succeeded" in result.reason) == ("skipped", True)
    assert row_of(first).dead == 3
    Tag.objects.all().delete()
    assert run(letters, retry_failed=first.run_id, force=True).status == "succeeded"


def test_a_row_tries_its_failed_items_again(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    letters.fails = {}
    result = Run.objects.get(pk=first.run_id).retry_failed(only_kind="KeyError", threads=1)
    assert (result.run_id, result.counts["dead"]) == (first.run_id, 2)
    assert run(letters(), retry_failed=first.run_id).status == "succeeded"


class Job(ac.AsyncCommand):
    async def handle(self) -> None: ...


def test_what_cannot_be_tried_again_is_refused(run: Any, letters: type[Letters]) -> None:
    class Other(Letters): ...

    first = run(letters, prefix="p")
    number = first.run_id
    for command, given, told in (
        (letters, {"retry_failed": 10**6}, "There is no run 1000000"),
        (letters, {"retry_failed": 0}, "retry_failed=0: the number of a run is needed"),
        (
            Other,
            {"retry_failed": number},
            rf"Run {number} is one of .*Letters: it cannot be resumed as .*Other, nor begun again",
        ),
        (letters(prefix="q"), {"retry_failed": number}, "was begun with other arguments: .*prefix"),
        (letters, {"retry_failed": number, "test": True}, "A trial run goes on with no other"),
        (letters, {"retry_failed": number, "resume_run": number}, "resume_run and retry_failed contradict each other"),
        (letters, {"retry_failed": number, "max_items": 2}, "max_items bounds new items"),
        (letters, {"only_kind": "ValueError"}, "give it with retry_failed"),
        (letters, {"retry_failed": number, "only_kind": [3]}, "only_kind=.*: the name of an error"),
    ):
        with pytest.raises(ac.InvalidCommand, match=told):
            run(command, **given)
    for command in (
        Job,
        type("Bot", (Letters,), {"always_on": True}),
        type("Brief", (Letters,), {"keep_history": False}),
    ):
        with pytest.raises(ac.InvalidCommand, match=r"retry_failed=.* has no effect here: .* has no items in a ledger"):
            run(command(), retry_failed=number)
    Run.objects.filter(pk=number).update(testing=True)
    with pytest.raises(ac.InvalidCommand, match=f"Run {number} was a trial run: its dead items are not tried again"):
        run(letters, retry_failed=number)
    Run.objects.filter(pk=number).update(testing=False, dry_run=True)
    with pytest.raises(ac.InvalidCommand, match=f"Run {number} is a dry run, which keeps nothing"):
        run(letters, retry_failed=number)


def test_a_run_that_somebody_works_on_is_refused(run: Any, letters: type[Letters]) -> None:
    first = run(letters)
    end_without_a_word(first.run_id)
    give_lease(first.run_id)
    with pytest.raises(ac.RunLocked, match=f"Run {first.run_id} is being worked on by process"):
        run(letters, retry_failed=first.run_id)
    assert labels_of(first, state="dead") == ["b", "d", "e"]


def test_of_a_run_whose_done_items_are_removed_nothing_is_done_twice(run: Any, letters: type[Letters]) -> None:
    class Following(letters):  # type: ignore[misc,valid-type]
        async def parse_and_save(self, item: str, payload: str) -> None:
            await super().parse_and_save(item, payload)
            if item == "b":
                self.follow("a")
            if item == "d":
                self.follow("e")

    first = run(Following)
    RunItem.objects.filter(run_id=first.run_id, state="done").delete()
    Run.objects.filter(pk=first.run_id).update(pruned=F("finished"))
    letters.fails = {}
    result = run(Following, retry_failed=first.run_id)
    assert (result.status, result.counts["done"], result.counts["dead"], tags()) == ("partial", 5, 1, "acdef")
    (dead,) = items_of(result, state="dead")
    assert (dead.label, "self.follow() names 1 item of which nobody knows whether" in dead.error) == ("b", True)
