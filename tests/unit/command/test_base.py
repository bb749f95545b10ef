"""A command: its frozen arguments, its one run, and what exists only while that run is open."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

import async_commander as ac
from async_commander.command.base import bind, unbind
from async_commander.exceptions import AsyncCommanderError, InvalidCommand


class Command(ac.IterateDownloadCommand[str, str]):
    domain: str = ""
    api_token: str = "t"

    def iterate(self) -> list[str]:
        return []

    def download(self, url: str) -> str:
        return url

    def parse_and_save(self, url: str, html: str) -> None: ...


class OpenRun:
    """A session that remembers what it was asked."""

    def __init__(self) -> None:
        self.context = SimpleNamespace(
            dry_run=True, testing=False, verbosity=2, stopping=False, options={"threads": 50, "api_token": "no"}
        )
        self.http = "http"
        self.db = "db"
        self.log = "log"
        self.stdout = "stdout"
        self.stderr = "stderr"
        self.style = "style"
        self.force = True
        self.previous = "previous"
        self.record = "record"
        self.idempotency_key = "key"
        self.asked: list[Any] = []

    def http_client(self) -> str:
        return "client"

    async def cpu(self, function: Any, *args: Any) -> Any:
        return function(*args)

    async def confirm(self, text: str) -> bool:
        return text == "Sure?"

    def progress(self, done: int, total: int | None = None) -> None:
        self.asked.append((done, total))

    def follow(self, *items: Any) -> None:
        self.asked.append(items)


RESOURCES = ["http", "db", "log", "stdout", "stderr", "style", "force", "previous", "record", "idempotency_key"]


def open_run() -> Any:
    return OpenRun()


def test_an_argument_cannot_be_deleted_and_another_attribute_can() -> None:
    command = Command()
    command.opened = True  # type: ignore[attr-defined]
    del command.opened  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'domain' is an argument of Command and frozen: it cannot be deleted"):
        del command.domain


def test_arguments_are_frozen_and_the_error_says_where_to_set_others() -> None:
    with pytest.raises(AttributeError, match=r"'domain' is an argument of Command and frozen.*lifespan\(\)"):
        Command().domain = "x"


def test_other_attributes_may_be_set() -> None:
    command = Command()
    command.seen = 1  # type: ignore[attr-defined]

    assert command.seen == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*RESOURCES, "dry_run", "testing", "verbosity", "stopping"])
def test_resources_exist_only_while_a_run_is_open(name: str) -> None:
    with pytest.raises(
        AsyncCommanderError, match=rf"self\.{name} exists only while a run is open.*ac\.arun\(command\)"
    ):
        getattr(Command(), name)


@pytest.mark.parametrize("name", RESOURCES)
def test_resources_come_from_the_session(name: str) -> None:
    command, session = Command(), open_run()
    bind(command, session)

    assert getattr(command, name) == getattr(session, name)


def test_flags_come_from_the_run() -> None:
    command = Command()
    bind(command, open_run())

    assert (command.dry_run, command.testing, command.verbosity, command.stopping) == (True, False, 2, False)


@pytest.mark.asyncio
async def test_methods_reach_the_session() -> None:
    command, session = Command(), open_run()
    bind(command, session)
    command.progress(1, 2)
    command.follow("a", "b")

    assert session.asked == [(1, 2), ("a", "b")]
    assert await command.cpu(len, "abc") == 3
    assert await command.confirm("Sure?")
    assert command.http_client() == "client"


@pytest.mark.asyncio
async def test_methods_outside_a_run_say_so() -> None:
    command = Command()

    with pytest.raises(AsyncCommanderError, match=r"self\.cpu\(\) exists only"):
        await command.cpu(len, "abc")
    with pytest.raises(AsyncCommanderError, match=r"self\.follow\(\) exists only"):
        command.follow("a")


def test_options_hold_shared_ones_while_a_run_is_open_and_own_ones_always() -> None:
    command = Command(api_token="mine")
    assert command.options == {"api_token": "mine"}

    bind(command, open_run())
    assert command.options == {"threads": 50, "api_token": "mine"}


def test_a_command_serves_one_run() -> None:
    command = Command()
    bind(command, open_run())
    with pytest.raises(InvalidCommand, match="was used already: a command serves one run; make a new one"):
        bind(command, open_run())

    unbind(command)
    with pytest.raises(InvalidCommand, match="make a new one"):
        bind(command, open_run())
    with pytest.raises(AsyncCommanderError, match="only while a run is open"):
        _ = command.http


def test_the_text_of_a_command_shows_arguments_and_no_secret() -> None:
    assert repr(Command(domain="x", api_token="hunter2")) == "Command(domain='x', api_token=********)"


def test_an_argument_may_be_called_self() -> None:
    class Selfish(ac.AsyncCommand):
        self: int = 1

        async def handle(this) -> None: ...

    assert Selfish(self=2).parameters == {"self": 2}


@pytest.mark.asyncio
async def test_hooks_that_nobody_wrote_have_defaults_that_do_nothing() -> None:
    command = Command()

    async with command.lifespan():
        assert command.cleanup() is None
        assert command.on_timeout() is None
        assert command.total() is None
        assert command.committed("a") is None


def test_an_init_that_leaves_the_arguments_out_is_refused_in_code_too() -> None:
    class Unmade(Command):
        def __init__(self) -> None:
            self.seen: list[str] = []

    with pytest.raises(InvalidCommand, match=r"Unmade\.__init__\(\) does not call super\(\)\.__init__"):
        ac.run(Unmade())


@pytest.mark.parametrize("name", ["limits", "retry", "option_defaults", "keep_values", "requires_system_checks"])
def test_what_a_run_reads_from_the_class_cannot_be_set_on_an_instance(name: str) -> None:
    command = Command(domain="x", api_token="y")
    with pytest.raises(AttributeError, match=f"'{name}' is read from the class .*: write it in the body of Command"):
        setattr(command, name, getattr(Command, name))


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 50), ("item_timeout", 1.5), ("per_host", 2), ("max_body", "1 MiB")]
)
def test_a_bound_cannot_be_set_on_an_instance(name: str, value: object) -> None:
    command = Command(domain="x", api_token="y")
    with pytest.raises(AttributeError, match=rf"'{name}' is a bound of the run.*ac\.Limits\({name}={value!r}\)"):
        setattr(command, name, value)


def test_an_attribute_that_only_has_the_name_of_a_bound_may_be_set() -> None:
    command = Command(domain="x", api_token="y")
    command.threads = [1, 2]
    assert command.threads == [1, 2]


@pytest.mark.parametrize("what", ["options", "parameters"])
def test_what_was_given_cannot_be_changed_and_a_copy_of_it_can(what: str) -> None:
    given = getattr(Command(domain="x", api_token="y"), what)
    for change in (lambda: given.update(a=1), lambda: given.__setitem__("a", 1), given.clear, lambda: given.pop("a")):
        with pytest.raises(TypeError, match=r"self\.options and self\.parameters are what the command was given"):
            change()
    for other in (dict(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given)), {**given}):
        assert other == given
        other["a"] = 1
