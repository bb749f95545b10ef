from __future__ import annotations

import pytest

from async_commander.pool.jobs import Job, Queue, Queues

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def filled(queues: Queues, queue: Queue, count: int) -> list[Job]:
    jobs = [Job(str(number), b"", queue) for number in range(count)]
    for job in jobs:
        queues.put(job)
    return jobs


def taken(queues: Queues) -> list[Job]:
    """All that may go out now."""
    jobs = []
    while job := queues.take():
        jobs.append(job)
    return jobs


async def test_calls_go_out_in_their_order_and_no_more_than_may_run() -> None:
    queues = Queues()
    jobs = filled(queues, Queue(3), 5)
    assert queues.wanted == 3
    assert taken(queues) == jobs[:3]
    assert queues.wanted == 0
    queues.ended(jobs[1])
    assert taken(queues) == jobs[3:4]


async def test_users_take_turns() -> None:
    queues = Queues()
    first, second = filled(queues, Queue(9), 4), filled(queues, Queue(9), 2)
    assert taken(queues) == [first[0], second[0], first[1], second[1], first[2], first[3]]


async def test_a_user_whose_calls_all_run_holds_up_nobody() -> None:
    queues = Queues()
    first, second = filled(queues, Queue(1), 3), filled(queues, Queue(9), 3)
    assert taken(queues) == [first[0], *second]
    assert queues.wanted == 0


async def test_suspects_go_first_and_one_at_a_time() -> None:
    queues = Queues()
    queue = Queue(9)
    suspects = [Job("suspect", b"", queue, crashes=1) for _ in range(2)]
    jobs = filled(queues, queue, 3)
    for suspect in suspects:
        queues.put(suspect)
    assert queues.wanted == 4
    assert taken(queues) == [suspects[0], *jobs]  # the others go on, and the second suspect waits
    queues.ended(suspects[0])
    assert queues.wanted == 1
    assert taken(queues) == suspects[1:]


async def test_a_suspect_keeps_to_the_number_of_its_user() -> None:
    queues = Queues()
    queue = Queue(1)
    (job,) = filled(queues, queue, 1)
    assert taken(queues) == [job]
    suspect = Job("suspect", b"", queue, crashes=1)
    queues.put(suspect)
    assert (queues.wanted, taken(queues)) == (0, [])
    queues.ended(job)
    assert taken(queues) == [suspect]


async def test_a_call_that_was_not_begun_keeps_its_place() -> None:
    queues = Queues()
    jobs = filled(queues, Queue(1), 3)
    assert taken(queues) == jobs[:1]
    queues.ended(jobs[0])
    queues.put(jobs[0], first=True)
    assert taken(queues) == jobs[:1]


async def test_a_call_that_is_withdrawn_is_not_handed_out() -> None:
    queues = Queues()
    jobs = filled(queues, Queue(9), 2)
    suspect = Job("suspect", b"", jobs[0].queue, crashes=1)
    queues.put(suspect)
    for job in (jobs[0], jobs[0], suspect):
        queues.withdraw(job)
    assert list(queues) == jobs[1:]
    assert queues.empty() == jobs[1:]
    assert taken(queues) == []
