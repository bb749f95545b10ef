"""P16: the cache never lies. Whole entries or none, one download for all who want it, and no dead holder in the way."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from async_commander.cache.entries import from_bytes
from async_commander.models import Lease
from tests.faults.counts import chance, count
from tests.faults.victims import Template, Victim, wait_until

PROCESSES, CALLERS = 8, 50
SIZE = 20_000
"""Of one result in lines of 65 bytes: writing it takes long enough to be killed in."""


class Keepers:
    """Processes that want the same results."""

    def __init__(self, template: Template, folder: Path, label: str) -> None:
        self._template = template
        self._folder = folder
        self._label = label
        self.journal = folder / "journal"
        self.journal.touch()

    def start(self, **arguments: Any) -> Victim:
        number = len(list(self._folder.glob("output*")))
        output = self._folder / f"output{number}"
        output.touch()
        arguments = {"label": self._label, "journal": str(self.journal), **arguments}
        victim = Victim(self._template, {"command": "keepers", "arguments": arguments, "output": str(output)})
        self._template.victims.append(victim)
        return victim

    def made(self) -> list[str]:
        """What was made, and by whom, in order."""
        return [line for line in self.journal.read_text().splitlines() if " makes " in line]


def entries_of(template: Template) -> list[Path]:
    return [path for path in template.cache.rglob("*") if path.is_file() and len(path.name) == 64]


def test_all_callers_in_all_processes_share_one_download(
    template: Template, transactional_db: None, tmp_path: Path
) -> None:
    keepers = Keepers(template, tmp_path, "shared")
    victims = [keepers.start(count=5, callers=CALLERS) for _ in range(PROCESSES)]
    assert [victim.wait() for victim in victims] == [0] * PROCESSES
    assert sorted(line.split()[-1] for line in keepers.made()) == ["0", "1", "2", "3", "4"]
    assert not Lease.objects.filter(name__startswith="cache:").exists()


def test_a_killed_holder_is_taken_over_at_once(template: Template, transactional_db: None, tmp_path: Path) -> None:
    keepers = Keepers(template, tmp_path, "killed")
    holder = keepers.start(takes=600)
    wait_until(keepers.made, 20, "the holder makes the result")
    heir = keepers.start()
    time.sleep(0.3)
    assert heir.poll() is None
    assert len(keepers.made()) == 1
    assert holder.kill()
    began = time.monotonic()
    assert heir.wait() == 0, heir.said()
    assert time.monotonic() - began < 10
    assert len(keepers.made()) == 2


def test_a_kill_while_writing_leaves_whole_entries_only(
    template: Template, transactional_db: None, tmp_path: Path
) -> None:
    keepers, random, kills, number = Keepers(template, tmp_path, "writing"), chance(), 0, 0
    while kills < count("P16_KILLS"):
        before = len(keepers.made())
        victim = keepers.start(first=number, count=10_000, size=SIZE, takes=0)
        wait_until(lambda before=before: len(keepers.made()) > before, 20, "the first result")
        time.sleep(random.uniform(0, 0.05))
        victim.signal(signal.SIGKILL)
        kills += victim.wait() == -signal.SIGKILL
        number = int(keepers.made()[-1].split()[-1])
    entries = entries_of(template)
    for path in entries:
        from_bytes(path.read_bytes(), path.name)
    assert len(entries) >= number
    last = keepers.start(count=number + 1, size=SIZE, takes=0)
    assert last.wait() == 0, last.said()
