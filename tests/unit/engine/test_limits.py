"""Bounds, their layers, and retries."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from async_commander.engine.cpus import available_cpus, cgroup_quota
from async_commander.engine.limits import BOUNDS, LONGEST, Limits, Retry


def test_defaults() -> None:
    limits = Limits()
    assert (limits.threads, limits.db_lanes, limits.batch_size) == (20, 4, 100)
    assert (limits.per_host, limits.per_second, limits.item_timeout, limits.timeout) == (None,) * 4
    assert limits.max_failures == "10%"
    assert limits.max_body_bytes == 64 * 2**20
    assert limits.processes == available_cpus() >= 1
    assert limits.given == {}


def test_only_what_was_given_is_remembered_as_given() -> None:
    assert Limits(threads=5, per_host=None).given == {"threads": 5, "per_host": None}


def test_the_first_layer_that_gives_a_bound_wins() -> None:
    line, call, command = Limits(threads=1), Limits(threads=2, batch_size=7), Limits(per_host=3, max_failures=5)
    limits = Limits.layered(line, call, None, command, Limits(per_host=None, max_failures=None))
    assert (limits.threads, limits.batch_size, limits.per_host, limits.max_failures) == (1, 7, 3, 5)
    assert limits.db_lanes == 4
    assert limits.given == {"threads": 1, "batch_size": 7, "per_host": 3, "max_failures": 5}


def test_a_layer_can_take_a_bound_away() -> None:
    assert Limits.layered(Limits(item_timeout=None), Limits(item_timeout=5)).item_timeout is None


def test_replace_keeps_the_rest() -> None:
    limits = Limits(threads=5, batch_size=9).replace(threads=6)
    assert limits == Limits(threads=6, batch_size=9)
    assert limits.given == {"threads": 6, "batch_size": 9}


def test_limits_are_values() -> None:
    assert Limits(threads=5) == Limits(threads=5) != Limits(threads=6)
    assert hash(Limits(threads=5)) == hash(Limits(threads=5))
    assert Limits() == Limits(threads=20)
    assert Limits() != "limits"
    assert "threads=5, processes=" in repr(Limits(threads=5))
    assert pickle.loads(pickle.dumps(Limits(threads=5))).given == {"threads": 5}


def test_a_bound_without_its_name_is_refused_with_how_to_write_it() -> None:
    with pytest.raises(TypeError, match=r"by keyword, found 5; write Limits\(threads=…\)"):
        Limits(5)  # type: ignore[call-arg]  # the mistake under test


def test_limits_are_frozen() -> None:
    with pytest.raises(AttributeError, match=r"threads cannot be set; make new ones by \.replace"):
        Limits().threads = 5
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del Limits().threads


def test_a_time_may_be_a_timedelta() -> None:
    assert Limits(timeout=timedelta(minutes=5)).timeout == 300.0  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than 0 is needed"):
        Limits(timeout=timedelta(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads=0: at least 1"),
        ({"threads": "5"}, TypeError, "threads='5': a whole number"),
        ({"threads": True}, TypeError, "threads=True: a whole number"),
        ({"threads": None}, TypeError, "threads=None: a whole number"),
        ({"treads": 5}, TypeError, "no bound 'treads': did you mean threads"),
        ({"colour": 5}, TypeError, "no bound 'colour': there are threads, processes"),
        ({"per_host": 0}, ValueError, "per_host=0: at least 1"),
        ({"per_second": 0}, ValueError, "per_second=0: more than 0"),
        ({"item_timeout": -1}, ValueError, "item_timeout=-1: more than 0"),
        ({"timeout": float("inf")}, ValueError, "timeout=inf"),
        ({"timeout": float("nan")}, ValueError, "timeout=nan"),
        ({"timeout": "5"}, TypeError, "timeout='5': a number of seconds is needed"),
        ({"item_timeout": "1h30m"}, TypeError, "item_timeout='1h30m': a number of seconds is needed"),
        ({"per_second": "5"}, TypeError, "per_second='5': a number is needed"),
        ({"max_failures": "ten"}, ValueError, "max_failures='ten': a number of items, or a share"),
        ({"max_failures": "101%"}, ValueError, 'from "0%" to "100%"'),
        ({"max_failures": -1}, ValueError, "max_failures=-1: at least 0"),
        ({"max_failures": 1.5}, TypeError, "max_failures=1.5"),
        ({"max_body": "64 parsec"}, ValueError, "'64 parsec' is no size"),
        ({"max_body": 0}, ValueError, "max_body=0"),
        ({"max_body": 1.5}, TypeError, "max_body=1.5"),
    ],
)
def test_bad_bounds_are_refused_with_the_remedy(bounds, error, message) -> None:
    with pytest.raises(error) as caught:
        Limits(**bounds)
    assert message in str(caught.value)
    (name,) = bounds
    assert str(caught.value).count(f"{name}=") <= 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("64 MiB", 64 * 2**20), ("1.5GB", 1_500_000_000), ("200", 200), (200, 200), ("3 kb", 3000), ("2KiB", 2048)],
)
def test_sizes(text, size) -> None:
    assert Limits.parse_size(text) == size


def test_failures_allowed_as_a_number_hold_from_the_start() -> None:
    assert Limits(max_failures=3).failures_allowed(0) == 3
    assert Limits(max_failures="3").failures_allowed(0) == 3
    assert Limits(max_failures=None).failures_allowed(10**6) is None


def test_failures_allowed_as_a_share_hold_after_100_items() -> None:
    limits = Limits(max_failures="10%")
    assert limits.failures_allowed(99) is None
    assert limits.failures_allowed(100) == 10
    assert limits.failures_allowed(1009) == 100
    assert Limits(max_failures="0%").failures_allowed(100) == 0
    assert Limits(max_failures="0.5 %").failures_allowed(1000) == 5


def test_retries_back_off_with_full_jitter_up_to_a_maximum() -> None:
    retry = Retry(attempts=10, initial=1.0, factor=2.0, maximum=30.0)
    assert [retry.delay(attempt, random=lambda: 1.0) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert retry.delay(3, random=lambda: 0.0) == 0
    assert retry.delay(10**6, random=lambda: 1.0) == 30


def test_retry_after_is_obeyed_and_capped() -> None:
    retry = Retry()
    assert retry.delay(1, retry_after=120.0, random=lambda: 1.0) == 120
    assert retry.delay(1, retry_after=10**9, random=lambda: 1.0) == 300
    assert retry.delay(3, retry_after=0.1, random=lambda: 1.0) == 2
    assert retry.delay(1, retry_after=-5, random=lambda: 0.0) == 0


def test_attempts_are_counted_to_the_last() -> None:
    assert [Retry(attempts=3).again(attempt) for attempt in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"factor": 0.5}, {"initial": -1}, {"maximum": float("inf")}])
def test_bad_retries_are_refused(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Retry(**bad)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2.0),
        ("0::/a/b", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, 0.5),
        ("4:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_the_tightest_quota_of_all_control_groups_counts(tmp_path, own, files, quota) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "own") == quota


NOT_NUMBERS = (True, False, "5", b"5", [1], object)
NOT_FINITE = (float("nan"), float("inf"), -float("inf"), 10**400, -1, 1e300, 2**63)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [*NOT_NUMBERS, *NOT_FINITE, 1e-320], ids=lambda value: f"{value!r:.20}")
def test_an_odd_value_is_refused_with_its_name_and_what_is_needed(name: str, value: Any) -> None:
    takes = {"max_failures": ("5",), "max_body": ("5",), "item_timeout": (1e-320,), "timeout": (1e-320,)}
    if value in takes.get(name, ()):
        assert Limits(**{name: value})
        return
    with pytest.raises((TypeError, ValueError), match=rf"^{name}=.*(needed|too large|no size)"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", ["initial", "maximum", "retry_after_cap", "host_budget", "factor", "attempts"])
@pytest.mark.parametrize("value", [*NOT_NUMBERS, *NOT_FINITE], ids=lambda value: f"{value!r:.20}")
def test_an_odd_value_of_a_retry_is_refused_with_its_name_and_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{name}=.*(needed|allowed)"):
        Retry(**{name: value})


def test_the_slowest_rate_and_the_longest_time_are_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"^per_second=1e-320: at least 1e-09 is needed, once in 31 years$"):
        Limits(per_second=1e-320)
    with pytest.raises(ValueError, match=r"^timeout=1e\+300: more than 0 is needed, and at most 1e\+09, 31 years"):
        Limits(timeout=1e300)
    assert 1 / Limits(per_second=1 / LONGEST).per_second == pytest.approx(LONGEST)
    assert Limits(max_body=2**63 - 1).max_body_bytes == 2**63 - 1
