"""Commands are found by path, imported when used; broken and ambiguous ones are named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.apps import AppConfig
from django.test import override_settings

from async_commander.command.registry import AmbiguousName, find_clashes, get_command, get_commands, name_of
from async_commander.exceptions import CommandNotFound, InvalidCommand

COMMAND = """
import async_commander as ac

class Command(ac.AsyncCommand):
    '''Say hello.'''
    async def handle(self): ...
"""
BOMB = "raise RuntimeError('imported')"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file below a folder that is on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(path: str, text: str = COMMAND) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@contextmanager
def installed(*names: str, packages: tuple[str, ...] = ()) -> Iterator[None]:
    with override_settings(INSTALLED_APPS=list(names), ASYNC_COMMANDER={"COMMAND_PACKAGES": list(packages)}):
        yield


def test_folders_and_module_are_joined_by_underscores(write: Write) -> None:
    write("reg_shop/__init__.py", "")
    write("reg_shop/commands/scrapers/deep/fetch.py")
    write("reg_shop/commands/hello.py")

    with installed("reg_shop"):
        found = get_commands()

    assert list(found) == ["hello", "scrapers_deep_fetch"]
    assert found["scrapers_deep_fetch"].module == "reg_shop.commands.scrapers.deep.fetch"
    assert found["scrapers_deep_fetch"].full_name == "reg_shop.scrapers_deep_fetch"


def test_names_with_a_leading_underscore_are_skipped(write: Write) -> None:
    write("reg_skip/__init__.py", "")
    write("reg_skip/commands/__init__.py", "")
    for path in ("_private.py", "_folder/a.py", "sub/__init__.py", "__pycache__/a.py", ".hidden/a.py"):
        write(f"reg_skip/commands/{path}", BOMB)

    with installed("reg_skip"):
        assert get_commands() == {}


def test_nothing_is_imported_before_it_is_used(write: Write) -> None:
    write("reg_lazy/__init__.py", "")
    write("reg_lazy/commands/good.py")
    write("reg_lazy/commands/bad.py", BOMB)

    with installed("reg_lazy"):
        assert set(get_commands()) == {"good", "bad"}
        assert "reg_lazy.commands.good" not in sys.modules
        assert get_command("good").__doc__ == "Say hello."
        assert "reg_lazy.commands.bad" not in sys.modules


def test_a_command_is_also_found_under_its_apps_label(write: Write) -> None:
    write("reg_label/__init__.py", "")
    write("reg_label/commands/hello.py")

    with installed("reg_label"):
        command = get_command("reg_label.hello")
        assert command is get_command("hello")
        assert name_of(command) == "hello"
        assert command.__module__ == "reg_label.commands.hello"


def test_a_class_outside_of_any_folder_is_named_by_its_module(write: Write) -> None:
    write("reg_free.py")
    import reg_free  # type: ignore[import-not-found]

    assert name_of(reg_free.Command) == "reg_free.Command"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"bad\.py cannot be imported: RuntimeError: imported"),
        ("def x(:", r"bad\.py cannot be imported: SyntaxError"),
        ("import nowhere_at_all", r"bad\.py cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(3)", r"bad\.py cannot be imported: SystemExit: 3"),
        ("", r"bad\.py has no class named Command; add one, or begin the file's name with _"),
        ("Command = 5", r"bad\.py: Command is 5; allowed: a class that inherits from ac\.AsyncCommand"),
        ("class Command: ...", r"allowed: a class that inherits from ac\.AsyncCommand"),
    ],
)
def test_a_broken_file_is_named_and_breaks_itself_only(write: Write, text: str, message: str) -> None:
    write("reg_broken/__init__.py", "")
    write("reg_broken/commands/bad.py", text)
    write("reg_broken/commands/good.py")

    with installed("reg_broken"):
        with pytest.raises(InvalidCommand, match=message):
            get_command("bad")
        get_command("good")


def test_the_import_error_is_the_cause(write: Write) -> None:
    write("reg_cause/__init__.py", "")
    write("reg_cause/commands/bad.py", BOMB)

    with installed("reg_cause"), pytest.raises(InvalidCommand) as caught:
        get_command("bad")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_unknown_name_gets_at_most_three_suggestions(write: Write) -> None:
    write("reg_near/__init__.py", "")
    for name in ("fetch_a", "fetch_b", "fetch_c", "fetch_d", "other"):
        write(f"reg_near/commands/{name}.py")

    with installed("reg_near"):
        with pytest.raises(CommandNotFound, match=r"no command 'fetch_x'. Did you mean (fetch_\w, ){2}fetch_\w\?"):
            get_command("fetch_x")
        with pytest.raises(CommandNotFound, match=r"Did you mean reg_near\.other"):
            get_command("reg_near.othr")
        with pytest.raises(CommandNotFound, match=r"`manage\.py arun` lists all of them"):
            get_command("zzzzzz")


def test_a_new_file_is_found_without_a_restart(write: Write) -> None:
    write("reg_new/__init__.py", "")
    write("reg_new/commands/one.py")

    with installed("reg_new"):
        get_commands()
        write("reg_new/commands/two.py")
        assert get_command("two").__name__ == "Command"


def test_two_files_with_one_name_are_a_clash_and_the_label_decides(write: Write) -> None:
    for app in ("reg_one", "reg_two"):
        write(f"{app}/__init__.py", "")
        write(f"{app}/commands/hello.py")

    with installed("reg_one", "reg_two"):
        assert [file.full_name for file in find_clashes()["hello"]] == ["reg_one.hello", "reg_two.hello"]
        assert get_commands()["hello"].app_label == "reg_one"
        with pytest.raises(InvalidCommand, match=r"2 files give the name 'hello'.*say which by app_label\.name"):
            get_command("hello")
        assert get_command("reg_two.hello").__module__ == "reg_two.commands.hello"


def test_two_files_of_one_app_with_one_name_must_be_renamed(write: Write) -> None:
    write("reg_same/__init__.py", "")
    write("reg_same/commands/a/b_c.py")
    write("reg_same/commands/a_b/c.py")

    with installed("reg_same"):
        assert list(find_clashes()) == ["a_b_c"]
        with pytest.raises(InvalidCommand, match="rename all but one"):
            get_command("reg_same.a_b_c")


def test_packages_of_the_settings_are_searched_too(write: Write) -> None:
    write("reg_jobs/__init__.py", "")
    write("reg_jobs/commands/night/clean.py")

    with installed(packages=("reg_jobs.commands",)):
        assert get_commands()["night_clean"].full_name == "reg_jobs.night_clean"
        assert get_command("night_clean").__module__ == "reg_jobs.commands.night.clean"


@pytest.mark.parametrize("package", ["reg_nowhere", "reg_nowhere.commands", "json.decoder"])
def test_a_package_that_is_none_is_named(package: str) -> None:
    with installed(packages=(package,)), pytest.raises(InvalidCommand, match=rf"COMMAND_PACKAGES'\] names '{package}'"):
        get_commands()


def test_an_apps_folder_outside_of_its_package_is_imported_by_path(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("reg_moved/__init__.py", "")
    elsewhere = write("elsewhere/commands/hello.py").parents[1]
    monkeypatch.setattr(AppConfig, "_path_from_module", lambda self, module: str(elsewhere))

    with installed("reg_moved"):
        command = get_command("hello")
        assert command.__module__ == "reg_moved.commands.hello"
        assert command is get_command("hello")


def test_a_broken_file_outside_of_its_package_is_tried_again_when_it_is_mended(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("reg_mended/__init__.py", "")
    elsewhere = write("elsewhere/commands/hello.py", BOMB).parents[1]
    monkeypatch.setattr(AppConfig, "_path_from_module", lambda self, module: str(elsewhere))

    with installed("reg_mended"):
        with pytest.raises(InvalidCommand, match=r"hello\.py cannot be imported: RuntimeError: imported"):
            get_command("hello")
        write("elsewhere/commands/hello.py")
        assert get_command("hello").__module__ == "reg_mended.commands.hello"


def test_only_near_names_are_suggested(write: Write) -> None:
    write("reg_far/__init__.py", "")
    for name in ("import_a", "import_b", "zebra", "other", "feeds_hourly_all"):
        write(f"reg_far/commands/{name}.py")

    with installed("reg_far"):
        with pytest.raises(
            CommandNotFound, match=r"there is no command 'zzzzzz'; `manage.py arun` lists all of them\.$"
        ):
            get_command("zzzzzz")
        with pytest.raises(CommandNotFound, match=r"'import_c'. Did you mean import_\w, import_\w\?"):
            get_command("import_c")
        with pytest.raises(CommandNotFound, match=r"Did you mean feeds_hourly_all\?"):
            get_command("hourly")


def test_a_plain_management_command_is_told_as_one(write: Write) -> None:
    write("reg_plain/__init__.py", "")
    write("reg_plain/commands/migrates.py")
    with (
        installed("reg_plain"),
        pytest.raises(CommandNotFound, match=r"plain management command, run by `manage\.py migrate`"),
    ):
        get_command("migrate")


def test_where_there_are_fewer_commands_fewer_are_suggested(write: Write) -> None:
    write("reg_few/__init__.py", "")
    with (
        installed("reg_few"),
        pytest.raises(CommandNotFound, match=r"there are none yet.* of an app in INSTALLED_APPS"),
    ):
        get_command("fetch")
    write("reg_few/commands/fetch.py")
    with installed("reg_few"), pytest.raises(CommandNotFound, match=r"Did you mean fetch\?"):
        get_command("fecth")


def test_a_name_that_two_apps_give_is_suggested_with_its_app(write: Write) -> None:
    for app in ("reg_left", "reg_right"):
        write(f"{app}/__init__.py", "")
        write(f"{app}/commands/fetch.py")
    with installed("reg_left", "reg_right"):
        with pytest.raises(
            CommandNotFound, match=r"reg_left\.fetch.*reg_right\.fetch|reg_right\.fetch.*reg_left\.fetch"
        ):
            get_command("fetsh")
        with pytest.raises(AmbiguousName, match=r"reg_left\.fetch .*reg_right\.fetch .*say which by app_label\.name"):
            get_command("fetch")


@pytest.mark.parametrize("name", [None, 5, b"fetch"])
def test_a_name_is_a_text(name: object) -> None:
    with pytest.raises(TypeError, match=r"a command's name is a text like 'fetch' or 'shop\.fetch', found"):
        get_command(name)  # type: ignore[arg-type]


def test_an_empty_name_is_none() -> None:
    with pytest.raises(CommandNotFound, match="a command's name is needed, found ''"):
        get_command("")
