"""A run that was begun before a deploy is the same run after it, wherever its arguments mean the same."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Annotated, Any, ClassVar

import pytest

import async_commander as ac
from async_commander.models import Run
from tests.testapp.models import Effect

ITEMS = [f"item {number}" for number in range(6)]


class Crawl(ac.IterateDownloadCommand[str, str]):
    """Breaks in the middle where it is told to; every effect is a row of its own, with the key other systems see."""

    limits = ac.Limits(threads=1)
    breaks: ClassVar[bool] = False
    keys: ClassVar[list[str]] = []

    async def iterate(self):
        for number, item in enumerate(ITEMS):
            if number == 3 and self.breaks:
                raise ValueError("the source broke")
            yield item

    async def download(self, item: str) -> str:
        self.keys.append(self.idempotency_key)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item, run=str(self.record.pk)))


def deployed(**attributes: Any) -> type[Crawl]:
    """The command as a release has it: all releases have one name. Tuples are an annotation with its default."""
    annotations = {name: value[0] for name, value in attributes.items() if isinstance(value, tuple)}
    defaults = {name: value[1] for name, value in attributes.items() if isinstance(value, tuple) and len(value) > 1}
    return type("Command", (Crawl,), {"__annotations__": annotations, "__module__": "shop.crawl", **defaults})


def begun(run: Any, cls: type[Crawl], **arguments: Any) -> int:
    command = cls(**arguments)
    command.breaks = True
    with pytest.raises(ac.RunFailed) as raised:
        run(command)
    return raised.value.result.run_id


def effects() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


class Colour(Enum):
    RED = 1
    GREY = 2


V1 = deployed(site=(str,), since=(str, "2026-01-31"), pages=(int, 5))

SAME = {
    "an option with a default is new": deployed(
        site=(str,), since=(str, "2026-01-31"), pages=(int, 5), deep=(bool, False)
    ),
    "several are new": deployed(
        site=(str,), since=(str, "2026-01-31"), pages=(int, 5), tags=(list[str], []), colour=(Colour, Colour.GREY)
    ),
    "an option is gone": deployed(site=(str,), since=(str, "2026-01-31")),
    "a type has another name": deployed(site=(str,), since=(str, "2026-01-31"), pages=(float, 5.0)),
    "a number has become a text": deployed(site=(str,), since=(str, "2026-01-31"), pages=(str, "5")),
    "an option has left the identity": deployed(
        site=(str,), since=(str, "2026-01-31"), pages=(Annotated[int, ac.Option(identity=False)], 7)
    ),
}


@pytest.mark.parametrize("change", SAME)
def test_a_resume_after_a_deploy_goes_on(run: Any, change: str, caplog: pytest.LogCaptureFixture) -> None:
    first = begun(run, V1, site="a")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "async_commander.run"):
        result = run(SAME[change](site="a"), resume=True)
    gone = f"Run {first} was begun with pages=5, which "
    assert any(line.startswith(gone) for line in caplog.messages) == (change == "an option is gone")
    assert result.run_id == first
    assert effects() == ITEMS
    assert Run.objects.count() == 1


OTHER = {
    "a new option has another value than its default": (
        deployed(site=(str,), since=(str, "2026-01-31"), pages=(int, 5), deep=(bool, False)),
        {"deep": True},
        "deep is new and True here",
    ),
    "a default has changed": (
        deployed(site=(str,), since=(str, "2026-01-31"), pages=(int, 6)),
        {},
        "pages=5 there, 6 here",
    ),
    "an argument has another name": (
        deployed(domain=(str, ""), since=(str, "2026-01-31"), pages=(int, 5)),
        {"domain": "a"},
        "domain",
    ),
}


@pytest.mark.parametrize("change", OTHER)
def test_a_resume_of_other_arguments_begins_anew_and_names_the_run_and_the_difference(
    run: Any, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = begun(run, V1, site="a")
    cls, more, said = OTHER[change]
    arguments = more if "domain" in more else {"site": "a", **more}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "async_commander.run"):
        result = run(cls(**arguments), resume=True)
    assert result.run_id != first
    told = caplog.messages[0]
    assert f"there is run {first} (failed, " in told
    assert said in told
    assert "A new run begins." in told


def test_runs_that_differ_in_what_is_gone_are_not_mistaken_for_each_other(run: Any) -> None:
    v1 = deployed(site=(str,), mode=(str, "full"))
    known = {begun(run, v1, site="a", mode="full"), begun(run, v1, site="a", mode="quick")}
    assert run(deployed(site=(str,))(site="a"), resume=True).run_id not in known
    assert Run.objects.count() == 3


def test_an_option_that_has_joined_the_identity_is_compared_with_what_was_stored(run: Any) -> None:
    v1 = deployed(site=(str,), pages=(Annotated[int, ac.Option(identity=False)], 5))
    first = begun(run, v1, site="a", pages=9)
    v2 = deployed(site=(str,), pages=(int, 5))
    assert run(v2(site="a"), resume=True).run_id != first
    assert run(v2(site="a", pages=9), resume=True).run_id == first


def test_an_option_that_has_left_the_identity_keeps_its_first_value(run: Any) -> None:
    first = begun(run, V1, site="a", pages=9)
    again = SAME["an option has left the identity"](site="a")
    assert run(again, resume=True).run_id == first
    assert again.pages == 9


def test_values_that_are_hidden_in_the_row_are_told_apart(run: Any) -> None:
    v1, v2 = deployed(url=(str,)), deployed(url=(str,), deep=(bool, False))
    first = begun(run, v1, url="https://me:one@example.org/")
    other = run(v2(url="https://me:two@example.org/"), resume=True)
    assert other.run_id != first
    assert run(v2(url="https://me:one@example.org/"), resume=True).run_id == first


def test_after_a_deploy_the_earlier_run_is_still_the_previous_one_and_items_keep_their_keys(run: Any) -> None:
    Crawl.keys.clear()
    first = run(V1(site="a"))
    before, Crawl.keys[:] = list(Crawl.keys), []
    seen: list[Any] = []

    class Looks(SAME["several are new"]):  # type: ignore[misc]
        async def cleanup(self) -> None:
            seen.append(self.previous)

    Looks.__module__, Looks.__qualname__ = "shop.crawl", "Command"
    run(Looks(site="a"))
    assert [each.pk for each in seen] == [first.run_id]
    assert Crawl.keys == before


def test_a_run_by_its_number_brings_its_arguments(run: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.integration.runner.deployed"]}
    with pytest.raises(ac.RunFailed) as raised:
        run("catalogue", site="a", pages=7, token="s3cret", note="first", breaks=True)
    first = raised.value.result.run_id
    with pytest.raises(ac.InvalidCommand, match="does not keep the value of token: give it again"):
        run("catalogue", resume_run=first)
    with pytest.raises(ac.InvalidCommand, match="pages=7 there, 8 here"):
        run("catalogue", resume_run=first, token="s3cret", pages=8)
    monkeypatch.setenv("CATALOGUE_TOKEN", "from the environment")
    result = run("catalogue", resume_run=first, breaks=False)
    assert result.run_id == first
    assert result.values == [["a", 7, "from the environment", "first"]]
    row = Run.objects.get(pk=first)
    assert "s3cret" not in f"{row.parameters}{row.options}"


def test_a_run_of_another_command_is_refused_by_its_number(run: Any, settings: Any) -> None:
    settings.ASYNC_COMMANDER = {"COMMAND_PACKAGES": ["tests.integration.runner.deployed"]}
    first = begun(run, V1, site="a")
    with pytest.raises(ac.InvalidCommand, match=r"is one of shop\.crawl\.Command: it cannot be resumed as catalogue"):
        run("catalogue", resume_run=first)
