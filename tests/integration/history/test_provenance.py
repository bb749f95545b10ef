"""Which run has written which object: recorded with the item's commit, told apart, and nothing that was rolled back."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.management.color import no_style
from django.db import IntegrityError, connection, models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.test.utils import CaptureQueriesContext, isolate_apps

import async_commander as ac
from async_commander.management.run_page import RunPage
from async_commander.models import CommandLogs, LoggedModel, ObjectLog, Run
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Bench, Cause, Elder, Faction, Page, Party, Politician, Tag

RunIt = Any


def told(result: Any = None) -> set[tuple[str, str, str]]:
    """What is recorded: the model, the key, and what was done."""
    logs = ObjectLog.objects.all() if result is None else ObjectLog.objects.filter(run_id=result.run_id)
    return set(logs.values_list("content_type__model", "object_id", "action"))


def of(obj: models.Model, action: str, name: str = "") -> tuple[str, str, str]:
    return name or str(obj._meta.model_name), str(obj.pk), action


class Items(ac.DownloadIterateCommand[None, Any]):
    """Its items are numbers; a test says what is done with them."""

    count: int = 1

    def download(self) -> None:
        return None

    def iterate(self, payload: None) -> Any:
        return range(self.count)


# -- what writes ---------------------------------------------------------------------------------------------------


def test_queued_rows_are_recorded_as_what_became_of_them(run: RunIt) -> None:
    there, changed, gone = (Party.objects.create(name=name) for name in ("there", "changed", "gone"))
    lost = Party(pk=987_654, name="lost")

    class Command(Items):
        async def parse_and_save(self, item: int) -> None:
            self.db.add(Party(name="added"), Cause(name="of no interest"))
            self.db.upsert(
                Party(name="there", founded=1900), Party(name="new", founded=1901), unique=["name"], update=["founded"]
            )
            self.db.upsert(Party(name="there"), Party(name="made"), unique=["name"], update=[])
            changed.founded = 1902
            self.db.update(changed, lost, fields=["founded"])
            self.db.delete(gone)

    key = gone.pk
    result = run(Command())
    assert result.status == "succeeded"
    by_name = {one.name: one for one in Party.objects.all()}
    assert told(result) == {
        *(of(by_name[name], "created") for name in ("added", "new", "made")),
        of(there, "updated"),
        of(changed, "updated"),
        ("party", str(key), "deleted"),
    }


def test_upserts_of_several_fields_and_a_row_that_is_met_again_later(run: RunIt) -> None:
    Bench.objects.create(row=1, place=1)

    class Command(Items):
        count: int = 2

        async def parse_and_save(self, item: int) -> None:
            seats = [Bench(row=1, place=place, taken=True) for place in (1, 2)]
            self.db.upsert(*seats, unique=["row", "place"], update=["taken"])

    result = run(Command())
    assert told(result) == {("bench", "[1, 1]", "updated"), ("bench", "[1, 2]", "created")}
    assert sorted(seat.place for seat in Run.objects.get().objects(Bench)) == [1, 2]
    assert [log.action for log in Bench.objects.get(pk=(1, 2)).command_logs.all()] == ["created"]


def test_ordinary_saves_and_links_in_an_item_are_recorded(run: RunIt) -> None:
    cause = Cause.objects.create(name="roads")

    class Command(Items):
        async def parse_and_save(self, item: int) -> None:
            party = await Party.objects.acreate(name="greens")
            person = await Politician.objects.acreate(name="Ann", party=party)
            person.born = 1970
            await person.asave()
            await person.causes.aadd(cause)
            await person.causes.aadd(cause)  # it is there: nothing is linked

    result = run(Command())
    ann, greens = Politician.objects.get(), Party.objects.get()
    assert told(result) == {of(ann, "created"), of(greens, "created"), of(ann, "linked")}
    assert list(ann.runs) == list(greens.runs) == [Run.objects.get(pk=result.run_id)]


def test_deletions_are_recorded_with_what_they_cascade_to(run: RunIt) -> None:
    party = Party.objects.create(name="old")
    members = [Politician.objects.create(name=name, party=party) for name in "ab"]
    wanted = {of(party, "deleted"), *(of(one, "deleted") for one in members)}

    class Command(Items):
        async def parse_and_save(self, item: int) -> None:
            self.db.delete(party)

    result = run(Command())
    assert told(result) == wanted
    assert not Run.objects.get(pk=result.run_id).objects(Politician).exists()


def test_a_command_with_provenance_records_every_model(run: RunIt) -> None:
    class Command(Items):
        provenance = True

        def parse_and_save(self, item: int) -> None:
            person = Politician.objects.create(name="Ann")
            person.causes.set([Cause.objects.create(name="roads")])
            Page.objects.create(url="/a")
            self.db.add(Tag(name="queued"))

    result = run(Command())
    ann, roads = Politician.objects.get(), Cause.objects.get()
    assert told(result) == {
        *(of(one, "created") for one in (ann, roads, Page.objects.get(), Tag.objects.get())),
        of(ann, "linked"),
        of(roads, "linked"),
    }
    record: Any = Run.objects.get(pk=result.run_id)
    assert list(record.objects(Page)) == [Page.objects.get()]
    assert list(record.objects(Cause, action="linked")) == [roads]
    assert list(record.objects(Politician)) == [ann]
    assert not record.objects(Cause, action="updated").exists()
    with pytest.raises(ValueError, match="allowed are created, updated, deleted, linked"):
        record.objects(Cause, action="made")


def test_rows_of_a_many_to_many_table_link_their_ends(run: RunIt) -> None:
    ann, roads = Politician.objects.create(name="Ann"), Cause.objects.create(name="roads")
    through: Any = Politician.causes.through

    class Command(Items):
        async def parse_and_save(self, item: int) -> None:
            link = through(politician=ann, cause=roads)
            self.db.upsert(link, unique=["politician", "cause"], update=[])

    assert told(run(Command())) == {of(ann, "linked")}


def test_the_hooks_of_the_run_as_a_whole_are_recorded_too(run: RunIt) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            party = await Party.objects.acreate(name="saved")
            self.db.add(Party(name="queued"))
            await self.db.flush()
            await self.db(in_one_transaction)
            await sync_to_async(party.save)()

        async def cleanup(self) -> None:
            await Party.objects.acreate(name="at the end")

    def in_one_transaction() -> None:
        with transaction.atomic():
            Party.objects.create(name="inside")
            try:
                with transaction.atomic():
                    Party.objects.create(name="undone")
                    raise IntegrityError
            except IntegrityError:
                pass

    result = run(Command())
    names = {"saved", "queued", "inside", "at the end"}
    created = {log for log in told(result) if log[2] == "created"}
    assert created == {of(Party.objects.get(name=name), "created") for name in names}


def test_a_run_that_keeps_no_rows_of_its_items_records_what_they_write(run: RunIt) -> None:
    class Command(Items):
        count: int = 3
        keep_history = False

        async def parse_and_save(self, item: int) -> None:
            self.db.add(Party(name=f"queued {item}"))
            if item:
                await Party.objects.acreate(name=f"saved {item}")

    result = run(Command())
    assert Party.objects.count() == 5
    assert told(result) == {of(party, "created") for party in Party.objects.all()}


def test_a_step_is_recorded_with_what_it_wrote(run: RunIt) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await self.step("make", self.make, "kept")
            await self.step("fail", self.make, "undone")

        def make(self, name: str) -> None:
            Party.objects.create(name=name)
            if name == "undone":
                raise ValueError

    with pytest.raises(ac.RunFailed):
        run(Command())
    assert told() == {of(Party.objects.get(), "created")}


def test_plain_commands_and_functions_are_recorded(run: RunIt) -> None:
    @ac.tracked
    def fill() -> None:
        Party.objects.create(name="greens")
        Page.objects.create(url="/a")

    @ac.tracked(provenance=True)
    class Command(BaseCommand):
        def handle(self, *args: Any, **options: Any) -> None:
            Page.objects.create(url="/b")

    class Managed(ac.ManagedCommand):
        provenance = True

        def execute_command(self, *args: Any, **options: Any) -> None:
            with transaction.atomic():
                Page.objects.create(url="/c")

    fill()
    call_command(Command())
    call_command(Managed())
    pages = dict(Page.objects.values_list("url", "pk"))
    Page.objects.all().delete()
    call_command(Managed(), dry_run=True)
    wanted: list[set[tuple[str, str, str]]] = [
        set(),
        *({("page", str(pages[url]), "created")} for url in ("/c", "/b")),
        {of(Party.objects.get(), "created")},
    ]
    assert [told_of(run) for run in Run.objects.all()] == wanted


def told_of(run: Run) -> set[tuple[str, str, str]]:
    return set(run.object_logs.values_list("content_type__model", "object_id", "action"))


# -- what is rolled back -------------------------------------------------------------------------------------------


def test_what_a_savepoint_takes_back_was_not_touched(run: RunIt) -> None:
    class Command(Items):
        async def parse_and_save(self, item: int) -> None:
            await Party.objects.acreate(name="kept")
            try:
                async with self.db.atomic():
                    await Party.objects.acreate(name="undone")
                    self.db.add(Party(name="unwritten"))
                    await self.db.flush()
                    raise ValueError
            except ValueError:
                await Party.objects.acreate(name="after")

    result = run(Command())
    assert told(result) == {of(party, "created") for party in Party.objects.all()}
    assert set(Party.objects.values_list("name", flat=True)) == {"kept", "after"}


def test_an_item_that_fails_leaves_no_record_and_its_neighbours_do(run: RunIt) -> None:
    Party.objects.create(name="taken")

    class Command(Items):
        count: int = 12
        limits = ac.Limits(max_failures=100)

        async def parse_and_save(self, item: int) -> None:
            if item % 3 == 0:
                self.db.add(Party(name="taken" if item % 2 else f"queued {item}"))
            else:
                await Party.objects.acreate(name=f"saved {item}")
                if item % 3 == 1:
                    raise ValueError(item)

    result = run(Command())
    assert result.counts["dead"] == 6
    created = Party.objects.exclude(name="taken")
    assert created.count() == 6
    assert told(result) == {of(party, "created") for party in created}


def test_many_objects_of_one_transaction_do_not_wait_in_memory_for_its_end(
    run: RunIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_commander.database.touched.LARGEST_NOTE", 10)

    class Command(Items):
        def parse_and_save(self, item: int) -> None:
            try:
                with transaction.atomic():
                    self.save("undone", 25)
                    assert ObjectLog.objects.count() == 20
                    raise ValueError
            except ValueError:
                self.save("kept", 25)

        def save(self, name: str, count: int) -> None:
            for number in range(count):
                Party.objects.create(name=f"{name} {number}")

    result = run(Command())
    assert told(result) == {of(party, "created") for party in Party.objects.all()}
    assert Party.objects.count() == 25


# -- what has no run -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_outside_of_a_run_nothing_is_recorded_and_nobody_listens() -> None:
    party = Party.objects.create(name="greens")
    party.save()
    assert not party.command_logs.exists()
    assert not party.runs.exists()
    for signal in (post_save, post_delete, m2m_changed):
        assert not [one for one in signal.receivers if "async_commander" in str(one)]
    party.delete()
    assert not ObjectLog.objects.exists()


def test_a_run_without_provenance_asks_nothing_more_of_other_models(run: RunIt) -> None:
    heard: list[bool] = []

    class Command(Items):
        def parse_and_save(self, item: int) -> None:
            heard.extend(signal.has_listeners(Page) for signal in (post_save, post_delete))
            self.db.upsert(Page(url="/a"), unique=["url"], update=["title"])

    with CaptureQueriesContext(connection):
        result = run(Command())
    assert result.status == "succeeded"
    assert heard == [False, False]
    assert not told(result)


def test_a_dry_run_records_nothing_and_a_link_in_it_is_no_error(run: RunIt) -> None:
    party = Party.objects.create(name="there")

    class Command(Items):
        provenance = True

        async def parse_and_save(self, item: int) -> None:
            self.db.add(Party(name="queued"))
            await Party.objects.acreate(name="saved")
            party.command_logs.add(self.record)
            await Party.objects.acreate_or_update({"name": "there"}, {"founded": 1}, log=self.record)

        async def cleanup(self) -> None:
            party.command_logs.add(self.record)

    result = run(Command(), dry_run=True)
    assert result.status == "succeeded"
    assert Party.objects.get() == party
    assert not told()


def test_a_run_that_is_begun_by_another_one_has_its_own_record(run: RunIt) -> None:
    class Inner(ac.AsyncCommand):
        async def handle(self) -> None:
            await Party.objects.acreate(name="inner")

    class Unrecorded(Inner):
        async def handle(self) -> None:
            await Party.objects.acreate(name="unrecorded")

    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            await Party.objects.acreate(name="before")
            await ac.arun(Inner())
            await ac.arun(Unrecorded(), recorder=InMemoryRecorder())
            await Party.objects.acreate(name="after")

    result = run(Outer())
    party = {one.name: str(one.pk) for one in Party.objects.all()}
    assert told(result) == {("party", party[name], "created") for name in ("before", "after")}
    assert told() - told(result) == {("party", party["inner"], "created")}


# -- inheritance ---------------------------------------------------------------------------------------------------


def test_a_proxy_shares_the_record_of_its_rows_and_a_child_is_recorded_beside_its_parent(run: RunIt) -> None:
    class Command(Items):
        def parse_and_save(self, item: int) -> None:
            Elder.objects.create(name="proxy")
            child = Faction.objects.create(name="child", seats=3)
            child.seats = 4
            self.db.update(child, fields=["seats"])

    result = run(Command())
    proxy, child = Elder.objects.get(name="proxy"), Faction.objects.get()
    created = {of(proxy, "created", "party"), of(child, "created", "party"), of(child, "created")}
    assert told(result) == created
    assert list(proxy.runs) == list(Party.objects.get(name="proxy").runs) == list(child.runs)
    assert Run.objects.get().objects(Faction).get() == child
    assert Run.objects.get().objects(Elder).count() == 2

    class Deletes(Items):
        def parse_and_save(self, item: int) -> None:
            Faction.objects.all().delete()

    class Changes(Items):
        def parse_and_save(self, item: int) -> None:
            Faction.objects.get().save(update_fields=["seats"])

    assert told(run(Changes())) == {of(child, "updated")}
    key = str(child.pk)
    assert told(run(Deletes())) == {("party", key, "deleted"), ("faction", key, "deleted")}


@isolate_apps("tests.testapp")
def test_a_name_that_stands_in_the_way_is_found_by_a_check() -> None:
    class Walk(LoggedModel):
        runs = models.IntegerField()

        class Meta:
            app_label = "testapp"

    class Shoe(models.Model):
        walk = models.ForeignKey(Walk, on_delete=models.CASCADE, related_name="command_logs")

        class Meta:
            app_label = "testapp"

    assert [(one.id, str(one.msg).split()[0]) for one in Walk.check() if one.id == "async_commander.E007"] == [
        ("async_commander.E007", "Walk.runs"),
        ("async_commander.E007", "Walk.command_logs"),
    ]
    assert not [one for one in Party.check() if one.id == "async_commander.E007"]


# -- by hand -------------------------------------------------------------------------------------------------------


def test_objects_are_linked_by_hand_with_their_item(run: RunIt) -> None:
    parties = [Party.objects.create(name=str(number)) for number in range(6)]

    class Command(Items):
        count: int = 6
        limits = ac.Limits(max_failures=100)

        async def parse_and_save(self, item: int) -> None:
            parties[item].command_logs.add(self.record)
            parties[item].command_logs.add(self.record, action="updated")
            if item == 3:
                raise ValueError

        async def cleanup(self) -> None:
            parties[3].command_logs.add(self.record, action="deleted")

    result = run(Command())
    links = {of(one, action) for one in parties if one != parties[3] for action in ("linked", "updated")}
    assert told(result) == {*links, of(parties[3], "deleted")}


@pytest.mark.django_db
def test_objects_are_linked_by_hand_to_any_run() -> None:
    first, second = (Run.objects.create(command="c", identity="i", status="succeeded") for _ in range(2))
    party = Party.objects.create(name="greens")
    party.command_logs.add(first, second)
    party.command_logs.add(first)
    assert list(party.runs) == [second, first]
    assert list(party.command_logs.filter(run=first).values_list("action", flat=True)) == ["linked"]
    refused: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "None is a NoneType; a Run is needed", lambda: party.command_logs.add(None)),  # type: ignore[arg-type]
        (ValueError, "was never saved: a run that began", lambda: party.command_logs.add(Run())),
        (ValueError, "was never saved, so that nothing", lambda: Party().command_logs.add(first)),
        (ValueError, "allowed are created", lambda: party.command_logs.add(first, action="seen")),
    ]
    for kind, message, call in refused:
        with pytest.raises(kind, match=message):
            call()
    assert not Party().command_logs.exists()
    assert isinstance(party.command_logs, CommandLogs)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="has tables with partitions")
def test_rows_of_partitioned_tables_are_told_apart_too(run: RunIt) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE parted (name varchar(100) PRIMARY KEY, size int) PARTITION BY HASH (name)")
        cursor.execute("CREATE TABLE parted_all PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
        cursor.execute("INSERT INTO parted VALUES ('there', 1)")
    try:
        with isolate_apps("tests.testapp"):

            class Parted(models.Model):
                name = models.CharField(max_length=100, primary_key=True)
                size = models.IntegerField()

                class Meta:
                    app_label = "testapp"
                    db_table = "parted"

        class Command(Items):
            provenance = True

            async def parse_and_save(self, item: int) -> None:
                self.db.upsert(
                    Parted(name="there", size=2), Parted(name="new", size=2), unique=["name"], update=["size"]
                )

        assert told(run(Command())) == {("parted", "there", "updated"), ("parted", "new", "created")}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE parted")


@pytest.mark.django_db
def test_the_page_of_a_run_in_the_terminal_tells_what_it_has_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.objects.create(command="c", identity="i", status="succeeded")
    assert "Objects" not in "\n".join(RunPage(run, no_style()).lines())
    for obj, action in (
        (Party(pk=1), "created"),
        (Party(pk=2), "created"),
        (Party(pk=3), "linked"),
        (Bench(pk=(1, 2)), "updated"),
    ):
        obj.command_logs.add(run, action=action)
    page = "\n".join(RunPage(run, no_style()).lines())
    assert "Objects\n  testapp.bench  1 updated\n  testapp.party  2 created, 1 linked" in page
    monkeypatch.setattr("async_commander.history.provenance.COUNTED", 2)
    monkeypatch.setattr("async_commander.management.run_page.COUNTED", 2)
    assert "Objects, of the first 2\n" in "\n".join(RunPage(run, no_style()).lines())


@pytest.mark.django_db
def test_the_record_of_an_object_outlives_it_and_goes_with_its_run() -> None:
    run = Run.objects.create(command="c", identity="i", status="succeeded")
    party = Party.objects.create(name="greens")
    party.command_logs.add(run)
    party.delete()
    assert ObjectLog.objects.filter(run=run).count() == 1
    run.delete()
    assert not ObjectLog.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("length", [10, 255, 300])
def test_keys_of_any_length_are_told_apart(length: int) -> None:
    from async_commander.database.touched import key_text

    keys = {key_text(Tag, number) for number in range(10)} | {key_text(Politician, uuid.UUID(int=1))}
    assert len(keys) == 11
    texts = {_text_key("x" * length), _text_key("x" * (length - 1) + "y")}
    assert len(texts) == 2
    assert all(len(text) <= 255 for text in texts)


def _text_key(text: str) -> str:
    from django.contrib.sessions.models import Session

    from async_commander.database.touched import key_text

    return key_text(Session, text)
