"""Real servers in processes of their own, and clients that leave when they like."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def line_of(kind: str, application: str, port: int) -> list[str]:
    """How a server is started."""
    if kind == "uvicorn":
        return ["-m", "uvicorn", application, "--port", str(port), "--log-level", "warning"]
    if kind == "granian":
        return ["-m", "granian", "--interface", "asginl", "--port", str(port), "--no-log", application]
    module, _, name = application.partition(":")
    return ["-c", _WSGI.format(module=module, name=name, port=port)]


_WSGI = """
from importlib import import_module
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
class Handler(WSGIRequestHandler):
    def log_message(self, *args): pass
server = Server(("127.0.0.1", {port}), Handler)
server.set_app(getattr(import_module({module!r}), {name!r}))
server.serve_forever()
"""


class ServerProcess:
    """uvicorn, granian or wsgiref with one application, ready to be asked."""

    def __init__(
        self,
        kind: str,
        application: str,
        *,
        environment: Mapping[str, str],
        folder: Path = ROOT,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        paths = f"{folder}{os.pathsep}{ROOT}"
        self.process = subprocess.Popen(
            [sys.executable, *line_of(kind, application, self.port)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths} | dict(environment),
        )
        end = time.monotonic() + 100
        while True:
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not answer"
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)

    def stop(self, number: int, seconds: float) -> float:
        """Send a signal and wait for its end; how long that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - began

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    async def get(
        self, path: str, *, leave_after: float | None = None, leave_at: bytes = b"", begun: asyncio.Event | None = None
    ) -> bytes:
        """What is answered, headers included; of who leaves before the end, what had come by then.

        Who leaves does so after so many seconds, or when this was read. `begun` is set when there is an answer.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        got = bytearray()
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(leave_after):
                while part := await reader.read(65_536):
                    got += part
                    if begun is not None:
                        begun.set()
                    if leave_at and leave_at in got:
                        break
        except TimeoutError:
            pass
        finally:
            writer.transport.abort()
        return bytes(got)


def events_in(body: bytes) -> list[dict[str, object]]:
    """The data of server-sent events, in whatever chunks they came."""
    lines = body.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
