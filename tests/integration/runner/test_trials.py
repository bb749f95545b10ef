"""Trial runs: `--test` fills in what is not given, says so everywhere, and counts as no real run."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import pytest
from django.core.management import CommandError, call_command

import async_commander as ac
from async_commander.models import Run
from async_commander.testing import InMemoryRecorder

from .ledger import row_of


class Prices(ac.IterateDownloadCommand[int, int]):
    supplier: str
    since: timedelta = timedelta(days=7)
    quick: Annotated[bool, ac.Option(identity=False)] = False

    test_parameters = {"supplier": "ACME", "since": "1d"}
    test_options = {"quick": True, "refresh": True, "max_items": 2}

    def add_arguments(self, parser) -> None:
        parser.add_argument("--refresh", action="store_true")
        parser.add_argument("--pages", type=int, default=9)

    async def iterate(self):
        return [1, 2, 3]

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...

    async def cleanup(self) -> None:
        type(self).seen = {  # type: ignore[attr-defined]
            **self.parameters,
            **self.options,
            "testing": self.testing,
            "context": ac.current_run().testing,  # type: ignore[union-attr]
        }


class Keys(ac.AsyncCommand):
    fails: Annotated[bool, ac.Option(identity=False)] = False

    async def handle(self) -> dict[str, Any]:
        if self.fails:
            raise ValueError("it broke")
        return {"key": self.idempotency_key, "previous": self.previous.pk if self.previous else None}


@pytest.mark.parametrize("word", ["test", "testing"])
def test_test_values_stand_for_what_is_not_given(run: Any, word: str) -> None:
    result = run(Prices, pages=3, **{word: True})
    assert result.counts["done"] == 2
    assert Prices.seen == {  # type: ignore[attr-defined]
        "supplier": "ACME", "since": timedelta(days=1), "quick": True, "refresh": True, "pages": 3, "max_items": 2,
        "test": True, "testing": True, "context": True,
    }  # fmt: skip
    row = row_of(result)
    assert (row.testing, row.parameters) == (True, {"supplier": "ACME", "since": "P1D"})


def test_what_is_given_goes_before_test_values(run: Any) -> None:
    assert run(Prices, supplier="EMCA", quick=False, refresh=False, max_items=1, test=True).counts["done"] == 1
    seen = Prices.seen  # type: ignore[attr-defined]
    assert (seen["supplier"], seen["quick"], seen["refresh"]) == ("EMCA", False, False)


def test_a_real_run_has_no_test_values_and_knows_that_it_is_real(run: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required argument: 'supplier'"):
        run(Prices)
    result = run(Prices, supplier="EMCA")
    seen = Prices.seen  # type: ignore[attr-defined]
    assert (seen["since"], seen["quick"], seen["refresh"], seen["pages"]) == (timedelta(days=7), False, False, 9)
    assert (seen["test"], seen["testing"], seen["context"]) == (False, False, False)
    assert result.counts["done"] == 3
    assert not row_of(result).testing


def test_an_instance_has_its_arguments_and_gets_the_shared_test_values(run: Any) -> None:
    assert run(Prices(supplier="EMCA"), test=True).counts["done"] == 2
    assert Prices.seen["quick"] is False  # type: ignore[attr-defined]


def test_two_words_for_one_option_contradict_each_other(run: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="contradict each other"):
        run(Prices, test=True, testing=False)


def test_a_class_may_run_as_a_trial_by_default(run: Any) -> None:
    class Careful(Keys):
        option_defaults = {"test": True}

    assert row_of(run(Careful)).testing
    assert not row_of(run(Careful, test=False)).testing


def test_a_trial_is_nobodys_previous_run_and_has_keys_of_its_own(run: Any) -> None:
    trial = run(Keys, test=True)
    real = run(Keys)
    assert (trial.value["previous"], real.value["previous"]) == (None, None)
    assert run(Keys).value["previous"] == real.run_id
    texts = {run(Keys, test=test).value["key"] for test in (True, False, True)}
    assert len(texts) == 3  # those of handle() are each run's own

    class Items(ac.IterateDownloadCommand[str, str]):
        keep_values = True

        async def iterate(self):
            return ["one"]

        async def download(self, item: str) -> str:
            return self.idempotency_key

        async def parse_and_save(self, item: str, payload: str) -> str:
            return payload

    first, again, trial = (run(Items, test=test).values for test in (False, False, True))
    assert first == again != trial


class Breaks(Prices):
    test_parameters = {"supplier": "ACME"}
    breaks = True

    async def iterate(self):
        if self.breaks:
            raise ValueError("the source broke")
        return [1, 2, 3]


def begun(run: Any, **arguments: Any) -> int:
    Breaks.breaks = True
    with pytest.raises(ac.RunFailed) as raised:
        run(Breaks, **arguments)
    Breaks.breaks = False
    return int(raised.value.result.run_id)  # type: ignore[arg-type]


def test_a_real_run_does_not_go_on_with_a_trial_nor_a_trial_with_a_real_run(run: Any) -> None:
    trial, real = begun(run, test=True), begun(run, supplier="ACME")
    resumed = run(Breaks, test=True, resume=True, quick=True)
    assert (resumed.run_id, Run.objects.get(pk=trial).testing) == (trial, True)
    assert run(Breaks, supplier="ACME", resume=True).run_id == real

    trial = begun(run, test=True)
    assert run(Breaks, supplier="ACME", resume=True).run_id > trial


def test_a_trial_that_is_named_goes_on_as_a_trial(run: Any) -> None:
    trial = begun(run, test=True, supplier="EMCA")
    assert run(Breaks, resume_run=trial).run_id == trial
    assert Breaks.seen["testing"] is True  # type: ignore[attr-defined]
    assert Breaks.seen["supplier"] == "EMCA"  # type: ignore[attr-defined]
    real = begun(run, supplier="EMCA")
    with pytest.raises(ac.InvalidCommand, match=f"Run {real} is no trial run: leave --test out"):
        run(Breaks, resume_run=real, test=True)


def test_a_trial_in_memory_is_one(run: Any) -> None:
    recorder = InMemoryRecorder()
    run(Prices, recorder=recorder, test=True)
    assert recorder.opening is not None
    assert recorder.opening.testing
    assert Prices.seen["testing"] is True  # type: ignore[attr-defined]


def test_a_handle_of_django_s_kind_is_told_of_a_trial_and_else_gets_what_django_gives(run: Any) -> None:
    class Old(ac.AsyncCommand):
        def handle(self, *args: Any, **options: Any) -> Any:
            return options.get("test")

    assert [run(Old, test=test).value for test in (True, False)] == [True, None]


@pytest.mark.django_db
def test_a_called_command_line_is_filled_in() -> None:
    call_command("arun", "pages", test=True)
    call_command("arun", "pages", "--test", count=2)
    assert [run.testing for run in Run.objects.all()] == [True, True]
    assert [run.parameters["count"] for run in Run.objects.order_by("pk")] == [1, 2]
    with pytest.raises(CommandError, match="contradict each other"):
        call_command("arun", "pages", "--test", resume=True, resume_run=3)
