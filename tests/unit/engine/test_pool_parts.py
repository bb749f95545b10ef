from __future__ import annotations

import random
import socket
from typing import Any, cast

import pytest

from async_commander.engine.child import ANSWER, SMALL, Kind
from async_commander.engine.childlink import Answer, Frames, StartPace
from async_commander.engine.jobs import GROUP, Job, JobQueue


def make_job(name: str = "parse", size: int = 10) -> Job:
    return Job(name, b"x" * size, cast("Any", None), cast("Any", None))


def make_queue(jobs: list[Job], seconds: float | None = 0.001) -> JobQueue:
    queue = JobQueue()
    for job in jobs:
        queue.put(job)
        if seconds is not None:
            queue.measured(job.name, seconds)
    return queue


def test_short_calls_travel_in_groups_where_many_wait() -> None:
    jobs = [make_job() for _ in range(40)]
    assert make_queue(jobs).take([], 2) == jobs[:GROUP]


def test_a_group_is_no_more_than_a_childs_share() -> None:
    jobs = [make_job() for _ in range(6)]
    assert make_queue(jobs).take([], 2) == jobs[:3]
    assert make_queue(jobs).take([], 8) == jobs[:1]


@pytest.mark.parametrize("seconds", [None, 0.1])
def test_calls_that_are_long_or_unknown_travel_alone(seconds: float | None) -> None:
    jobs = [make_job() for _ in range(40)]
    queue = make_queue(jobs, seconds)
    assert queue.take([], 2) == jobs[:1]
    assert queue.take(jobs[:1], 2) == []


def test_a_long_call_is_not_put_behind_short_ones() -> None:
    jobs = [make_job("short"), make_job("long"), *[make_job("short") for _ in range(20)]]
    queue = make_queue(jobs)
    queue.measured("long", 1.0)
    assert queue.take([], 1) == jobs[:1]


def test_large_payloads_travel_alone() -> None:
    jobs = [make_job(size=SMALL + 1) for _ in range(40)]
    assert make_queue(jobs).take([], 1) == jobs[:1]


def test_one_slow_call_makes_a_function_slow_at_once_and_quick_again_in_time() -> None:
    jobs = [make_job() for _ in range(40)]
    queue = make_queue(jobs)
    queue.measured("parse", 5.0)
    assert len(queue.take([], 1)) == 1
    for _ in range(50):
        queue.measured("parse", 0.001)
    assert len(queue.take([], 1)) == GROUP


def test_a_busy_child_gets_more_only_where_more_wait_than_there_are_children() -> None:
    jobs = [make_job() for _ in range(3)]
    queue = make_queue(jobs)
    assert queue.take([make_job()], 4) == []
    assert queue.take([make_job()], 1) == jobs


def test_suspects_go_first_one_at_a_time_and_alone() -> None:
    jobs = [make_job() for _ in range(20)]
    suspects = [make_job(), make_job()]
    queue = make_queue(jobs)
    for suspect in suspects:
        queue.put_suspect(suspect)
    assert queue.take([make_job()], 2) == []  # a child that holds something is emptied first
    assert queue.take([], 2) == suspects[:1]
    assert queue.take(suspects[:1], 2) == []  # nothing is put behind it
    assert queue.take([], 2) == jobs[:GROUP]  # the others go on, and the second suspect waits
    queue.left_child(suspects[0])
    assert queue.take([], 2) == suspects[1:]


def test_calls_that_were_not_begun_keep_their_place_and_suspects_stay_suspects() -> None:
    jobs = [make_job() for _ in range(5)]
    queue = make_queue(jobs, None)
    taken = [queue.take([], 1)[0] for _ in range(3)]
    taken[1].awaited = False
    taken[2].crashes = 1
    queue.put_back(taken)
    assert queue.take([], 1) == [jobs[2]]
    queue.left_child(jobs[2])
    assert [queue.take([], 1)[0] for _ in range(3)] == [jobs[0], jobs[3], jobs[4]]


def test_a_withdrawn_call_is_not_handed_out() -> None:
    jobs = [make_job() for _ in range(2)]
    queue = make_queue(jobs)
    queue.withdraw(jobs[0])
    queue.withdraw(jobs[0])
    assert len(queue) == 1
    assert queue.empty() == jobs[1:]
    assert not queue


@pytest.mark.parametrize("seed", range(5))
def test_answers_are_cut_right_however_the_stream_is_broken(seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 1, 10, 5_000, 70_000]) for _ in range(40)]
    expected = [Answer(Kind.RESULT, float(n), chance.randbytes(size)) for n, size in enumerate(sizes)]
    stream = b"".join(ANSWER.pack(a.kind, a.seconds, len(a.body)) + a.body for a in expected)
    frames, found = Frames(), list[Answer]()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        scratch = memoryview(bytearray(10_000))
        while stream:
            length = chance.randint(1, 9_000)
            theirs.sendall(stream[:length])
            stream = stream[length:]
            found += read_all(frames, ours, scratch)
        theirs.close()
        with pytest.raises(ConnectionError):
            frames.read(ours, scratch)
    assert found == expected


def read_all(frames: Frames, sock: socket.socket, scratch: memoryview) -> list[Answer]:
    found: list[Answer] = []
    try:
        while True:
            found += frames.read(sock, scratch)
    except BlockingIOError:
        return found


def test_starts_that_fail_come_more_and_more_slowly() -> None:
    pace = StartPace()
    waits = []
    for _ in range(12):
        pace.failed(100.0)
        waits.append(pace.not_before - 100.0)
    assert waits[:4] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert waits[-1] == 60.0
    pace.succeeded()
    assert pace.not_before == 0.0
