"""Where results are kept: disks, S3, storages of other kinds, and those that have trouble."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.test import override_settings

import async_commander as ac
from async_commander.cache import store as store_module
from async_commander.cache.codecs import pack
from async_commander.cache.entries import Entry, to_bytes
from async_commander.cache.store import Store, open_store
from async_commander.exceptions import InvalidCommand

KEY = "ab" * 32


def entry(text: str = "a page", command: str = "shop.fetch") -> Entry:
    return Entry(key=KEY, command=command, function="x.Command.download", created=1.5, packed=pack(text))


class NeverOverwrites(InMemoryStorage):
    """As object storages that give a new file another name, which is Django's way."""


class Renames(InMemoryStorage):
    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"{name}_x"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """A bucket on moto's server."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    words = {
        "access_key": "testing",
        "secret_key": "testing",
        "endpoint_url": f"http://{host}:{port}",
        "region_name": "us-east-1",
    }
    try:
        client = boto3.client(
            "s3",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            endpoint_url=words["endpoint_url"],
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="kept")
        yield {**words, "bucket_name": "kept"}
    finally:
        server.stop()


@pytest.fixture(params=["disk", "memory", "never overwrites", "s3", "s3 that does not overwrite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param.startswith("s3"):
        S3Storage = pytest.importorskip("storages.backends.s3").S3Storage

        options = request.getfixturevalue("s3")
        overwrites = request.param == "s3"
        return Store(S3Storage(**options, file_overwrite=overwrites, location=f"project{overwrites}"))
    kinds = {
        "disk": lambda: FileSystemStorage(tmp_path),
        "memory": InMemoryStorage,
        "never overwrites": NeverOverwrites,
    }
    return Store(kinds[request.param]())


def test_an_entry_is_kept_replaced_listed_and_removed(store: Store) -> None:
    assert store.read("shop.fetch", KEY) is None
    assert store.commands() == []
    store.write(entry("first"))
    store.write(entry("second"))
    assert store.read("shop.fetch", KEY) == entry("second")
    assert store.of(testing=True).read("shop.fetch", KEY) is None
    assert store.commands() == ["shop.fetch"]
    [kept] = store.entries("shop.fetch")
    assert kept.size == len(to_bytes(entry("second")))
    store.delete([kept])
    assert store.read("shop.fetch", KEY) is None
    assert list(store.entries("shop.fetch")) == []


@pytest.mark.parametrize("store", ["disk", "s3"], indirect=True)
def test_many_may_write_one_entry_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.write(entry(f"page {number % 2}")), range(40)))
    found = store.read("shop.fetch", KEY)
    assert found is not None
    assert found.packed.value() in {"page 0", "page 1"}


@pytest.mark.parametrize("name", ["shop.fetch", "tests.x.test.<locals>.Command", "../../escape", "a/b", "ü"])
def test_any_name_of_a_command_is_a_folder_of_its_own(tmp_path: Path, name: str) -> None:
    store = Store(FileSystemStorage(tmp_path / "kept"))
    store.write(entry(command=name))
    assert store.commands() == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert len(list((tmp_path / "kept" / "async_commander" / "results").iterdir())) == 1


def test_a_write_that_fails_leaves_the_old_entry_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(FileSystemStorage(tmp_path))
    store.write(entry("old"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(entry("new"))
    assert store.read("shop.fetch", KEY) == entry("old")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [KEY]


class Job(ac.AsyncCommand):
    async def handle(self) -> int:
        return await self.one()

    @ac.cached
    async def one(self) -> int:
        return 7


class Broken(InMemoryStorage):
    def _open(self, name: str, mode: str = "rb") -> Any:
        raise ConnectionError("the bucket is away")

    def _save(self, name: str, content: Any) -> str:
        raise ConnectionError("the bucket is away")


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        (Broken, ["cannot be read.*the bucket is away", "cannot be kept.*the bucket is away"]),
        (Renames, ["cannot be kept.*the storage keeps"]),
    ],
)
def test_trouble_with_the_storage_costs_no_run(
    run_on_lanes: Any, settings: Any, storage: type, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings.STORAGES = {**settings.STORAGES, "kept": {"BACKEND": f"{__name__}.{storage.__qualname__}"}}
    assert run_on_lanes(Job()).value == 7
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == len(told)
    for text, warning in zip(told, warnings, strict=True):
        assert re.search(text, warning)


def test_a_damaged_entry_is_made_anew_with_one_warning(
    run_on_lanes: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_on_lanes(Job())
    [path] = [path for path in folder.rglob("*") if path.is_file()]
    path.write_bytes(path.read_bytes()[:-1])
    assert [run_on_lanes(Job()).value for _ in range(2)] == [7, 7]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"A kept result of {__name__}.Job.one cannot be used and is made anew: it was cut or changed, or written under another SECRET_KEY"  # noqa: E501
    ]


def test_a_run_on_s3_finds_what_another_one_kept(run_on_lanes: Any, settings: Any, s3: dict[str, Any]) -> None:
    made = []

    class Page(ac.AsyncCommand):
        @ac.cached
        async def fetch(self, url: str) -> str:
            made.append(url)
            return f"page of {url}"

        async def handle(self) -> str:
            return await self.fetch("https://example.org/a?b=c")

    settings.STORAGES = {
        **settings.STORAGES,
        "kept": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**s3, "location": "run"}},
    }
    assert [run_on_lanes(Page()).value for _ in range(2)] == ["page of https://example.org/a?b=c"] * 2
    assert made == ["https://example.org/a?b=c"]


# -- settings ----------------------------------------------------------------------------------------------------------


def test_an_alias_that_does_not_exist_is_refused_before_the_run_and_by_the_check(settings: Any) -> None:
    from async_commander.checks import check_settings

    settings.ASYNC_COMMANDER = {"CACHE": "s3"}
    with pytest.raises(InvalidCommand, match=r"ASYNC_COMMANDER\['CACHE'\] is 's3'.*STORAGES has default"):
        ac.run(Job())
    assert [message.id for message in check_settings(None)] == ["async_commander.E001"]


def test_without_a_setting_results_are_in_a_folder_of_the_user_and_project(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.ASYNC_COMMANDER = {}
    monkeypatch.setattr(store_module, "make_default", store_module.on_this_machine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = open_store()
    store.write(entry())
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.stat().st_mode & 0o777 == 0o600
    ours = [folder for folder in path.parents if store_module.default_folder().parent in folder.parents]
    assert [folder.stat().st_mode & 0o777 for folder in ours] == [0o700] * 4
    assert store_module.default_folder().parent == tmp_path / "home" / "async_commander"
    with override_settings(BASE_DIR=tmp_path):
        assert store_module.default_folder() != path.parents[3]


def test_a_default_folder_that_others_may_write_is_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.ASYNC_COMMANDER = {}
    monkeypatch.setattr(store_module, "make_default", store_module.on_this_machine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = store_module.default_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(InvalidCommand, match="open to others"):
        open_store()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidCommand, match="which is a link"):
        open_store()
    folder.unlink()
    folder.write_text("a file")
    with pytest.raises(InvalidCommand, match="CACHE"):
        open_store()


def test_an_open_file_of_an_entry_is_closed(tmp_path: Path) -> None:
    store = Store(FileSystemStorage(tmp_path))
    store.write(entry())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        store.read("shop.fetch", KEY)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_large_entry_is_whole(tmp_path: Path) -> None:
    large = "x" * 5_000_000
    store = Store(FileSystemStorage(tmp_path))
    store.write(entry(large))
    assert store.read("shop.fetch", KEY) == entry(large)


@pytest.mark.parametrize("number", [1, 2])
def test_a_test_finds_nothing_that_another_one_kept(settings: Any, number: int) -> None:
    """The plugin sees to it, where the project has not said where results are kept."""
    settings.ASYNC_COMMANDER = {}
    assert open_store().read("shop.fetch", KEY) is None
    open_store().write(entry())
    assert open_store().read("shop.fetch", KEY) == entry()
