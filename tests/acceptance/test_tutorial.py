"""The tutorial, followed literally: its files are written, its lines are typed, its output is compared."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from .fresh import ROOT, environment

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OF_THE_INSTALLATION = ("python -m venv", "pip install")
"""What the suite's own environment has done already."""
STAYS = ("python bookshop.py", "python manage.py runserver")
"""What is left running in a terminal of its own."""
ENDS = {
    "python manage.py arun fetch_books --threads 50": 3,
    "python manage.py arun fetch_books --progress none": 3,
    "timeout": 124,
    "python manage.py arun fetch_books --threads 50 --resume": 3,
}
"""Exit codes of those that the page says do not end with 0."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reader:
    """Who sits before the page, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.printed, self.staying = folder, "", list[subprocess.Popen[bytes]]()
        self.ports = {"8001": str(free_port()), "8000": str(free_port())}

    def with_ports(self, text: str) -> str:
        """Ports that nobody else has."""
        return re.sub(r"\b800[01]\b", lambda port: self.ports[port[0]], text)

    def writes(self, code: str) -> None:
        """A file, or the end of one, as its first line says."""
        first, _, body = code.partition("\n")
        path, is_end = first.removeprefix("# ").removesuffix(", at the end"), first.endswith(", at the end")
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if is_end else "") + self.with_ports(body))

    def types(self, lines: str) -> None:
        """Each line, as a shell has it."""
        for line in lines.splitlines():
            if line.startswith(OF_THE_INSTALLATION):
                continue
            typed = self.with_ports(line.replace("runserver", "runserver --noreload 8000"))
            words = [sys.executable if word == "python" else word for word in shlex.split(typed)]
            if line.startswith(STAYS):
                self.staying.append(subprocess.Popen(words, cwd=self.folder, env=environment()))
                self.waits_for(self.ports["8001" if "bookshop" in line else "8000"])
                continue
            shell = shlex.join(words) if "=" not in words[0] else f"{words[0]} {shlex.join(words[1:])}"
            shell = shell.replace("django-admin", f"{sys.executable} -m django")
            ended = subprocess.run(
                ["bash", "-c", shell], cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=120,
                check=False,
            )  # fmt: skip
            self.printed = ended.stdout + ended.stderr
            wanted = next((code for start, code in ENDS.items() if line == start or start == line.split()[0]), 0)
            assert ended.returncode == wanted, f"{line}\n{self.printed}"

    def waits_for(self, port: str) -> None:
        """Until something answers there."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            except (URLError, OSError) as error:
                if getattr(error, "code", None):
                    return
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"nothing answers on port {port}")


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    try:
        yield reader
    finally:
        for process in reader.staying:
            process.terminate()
            process.wait(20)


def at_its_time(line: str) -> str:
    """What cron starts by a line, in the folder of the reader."""
    return line.split(None, 5)[5].replace("cd /srv/shop && .venv/bin/", "")


def lines_of(text: str) -> set[str]:
    """Its lines, whatever the numbers and the space between are."""
    return {" ".join(re.sub(r"\d+", "0", line).split()) for line in text.splitlines() if line.strip()}


def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    with reading(tmp_path) as reader:
        for language, code in BLOCK.findall(PAGE):
            if language == "python":
                reader.writes(code)
            elif language == "sh":
                reader.types(code)
            elif language == "cron":
                reader.types("\n".join(at_its_time(line) for line in code.splitlines()))
            elif language == "text":
                missing = lines_of(reader.with_ports(code)) - lines_of(reader.printed)
                assert not missing, f"{missing} is not in\n{reader.printed}"
        with urlopen(f"http://127.0.0.1:{reader.ports['8000']}/admin/async_commander/run/") as page:
            assert b"Log in" in page.read()
