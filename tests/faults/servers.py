"""A PostgreSQL server of the test's own, which it may stop, and a proxy in front of it, which it may cut."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "40",
    "listen_addresses": "127.0.0.1",
    "autovacuum": "off",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def program(name: str) -> str | None:
    """Where a program of PostgreSQL's is; None where there is none here."""
    return shutil.which(name, path=os.pathsep.join([*map(str, BINARIES), os.environ.get("PATH", "")]))


class Postgres:
    """A cluster in a temporary folder, on a free port of this machine. PostgreSQL refuses to be run by root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._user = _other_user() if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._call("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--no-locale")
        settings = {**QUICK, "port": str(self.port), "unix_socket_directories": str(folder)}
        with (folder / "data/postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()

    def start(self) -> None:
        self._call("pg_ctl", "--wait", "--silent", f"--log={self.folder / 'log'}", "start")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash, `fast` ends all connections in order."""
        self._call("pg_ctl", "--wait", "--silent", f"--mode={mode}", "stop")

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """On a connection of its own, past all proxies."""
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as other:
            cursor = other.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def _call(self, name: str, *arguments: str) -> None:
        with (self.folder / "output").open("ab") as output:  # no pipe: a server keeps what it inherits
            done = subprocess.run(
                [program(name) or name, "-D", str(self.folder / "data"), *arguments],
                user=self._user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        assert done.returncode == 0, (self.folder / "output").read_text()[-2000:]


@contextmanager
def postgres_of_its_own() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="async-commander-postgres-", dir="/tmp"))
    server = None
    try:
        server = Postgres(folder)
        yield server
    finally:
        if server is not None:
            with suppress(AssertionError):  # it may be stopped
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def absence() -> str:
    """Why there cannot be a server here; nothing where there can."""
    if program("initdb") is None:
        return "no initdb: PostgreSQL's programs are not installed here"
    return "" if os.geteuid() != 0 or _other_user() else "root may not run PostgreSQL, and there is no user for it"


def _other_user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


class Proxy:
    """Hands bytes on between clients and a server, until it is told to cut.

    A COMMIT is cut when its answer has come from the server, which is kept: so it was done, and nobody knows.
    """

    def __init__(self, port: int, chance: Random) -> None:
        self._target = port
        self._chance = chance
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._mutex = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.commits_to_cut = 0
        self.commit_share = 1.0
        """How many of the COMMITs that pass are cut, while there are any to cut."""
        self.connections_to_cut = 0
        """So many new ones are cut, each after a few messages."""
        self.connections_after_commit = 0
        """So many are to be cut after each COMMIT that is."""
        self.cut_commits = 0
        self.cut_connections = 0
        self.refusing = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut_all(self) -> None:
        """Cut whatever is connected now."""
        with self._mutex:
            pairs = list(self._pairs)
        for pair in pairs:
            _end(*pair)

    def accept_again(self) -> None:
        self.refusing = False

    def close(self) -> None:
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError):
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        if self.refusing:
            _end(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            _end(client)
            return
        server.settimeout(None)
        messages = None
        with self._mutex:
            if self.connections_to_cut:
                self.connections_to_cut -= 1
                self.cut_connections += 1
                messages = self._chance.randint(0, 6)
            self._pairs.add((client, server))
        committing = threading.Event()
        threading.Thread(target=self._to_server, args=(client, server, committing, messages), daemon=True).start()
        threading.Thread(target=self._to_client, args=(client, server, committing), daemon=True).start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, committing: threading.Event, messages: int | None
    ) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if messages is not None:
                    messages -= 1
                    if messages < 0:
                        break
                if b"COMMIT\0" in data and self._cuts_this():
                    committing.set()
                server.sendall(data)
        self._forget(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket, committing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if committing.is_set():
                    break
                client.sendall(data)
        self._forget(client, server)

    def _cuts_this(self) -> bool:
        with self._mutex:
            cuts = self.cut_commits < self.commits_to_cut and self._chance.random() < self.commit_share
            if cuts:
                self.cut_commits += 1
                self.connections_to_cut += self.connections_after_commit
            return cuts

    def _forget(self, client: socket.socket, server: socket.socket) -> None:
        with self._mutex:
            self._pairs.discard((client, server))
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def wait_until_ready(server: Postgres, seconds: float = 30) -> None:
    import psycopg

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(psycopg.Error):
            server.execute("SELECT 1")
            return
        time.sleep(0.05)
    raise AssertionError(f"the server was not there within {seconds} s")
