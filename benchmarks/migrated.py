"""python -m benchmarks.migrated: the four commands of examples/migrated before and after their move, side by side.

Before: the real packages, from the package index, in an environment of their own that is made here (winidjango needs
Python 3.12). django_commander is not on the index: its command is measured with one item at a time instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "examples" / "migrated"
PACKAGES = ("django-managed-commands", "winidjango")
PYTHONS = ("python3.14", "python3.13", "python3.12")

PREPARE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
from shop.models import Comment, Politician, Recipient
Politician.objects.bulk_create(Politician(name=f"p{number}") for number in range(ITEMS))
Recipient.objects.bulk_create(Recipient(address=f"r{number}@example.org") for number in range(ITEMS))
users = User.objects.bulk_create(User(username=f"user{number}") for number in range(10))
Comment.objects.bulk_create(Comment(user=user, text="Hello") for user in users)
"""
MEASURE = """
import io, time
from django.core.management import call_command
from shop.models import Product, Recipient
Recipient.objects.update(notified=False)
Product.objects.all().delete()
began, worked = time.perf_counter(), time.process_time()
call_command(*{line!r}, stdout=io.StringIO(), stderr=io.StringIO(), **{options!r})
print(time.perf_counter() - began, time.process_time() - worked)
"""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One command, before or after: what is called, in which project, by which Python."""

    command: str
    how: str
    line: tuple[str, ...]
    settings: str
    python: str
    options: Mapping[str, object]


class Absent(Exception):
    """A package cannot be had here."""


def main() -> None:
    """Prints a table: seconds, and how many times faster than before."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="migrated-") as name, _outside(options.seconds) as url:
        folder = Path(name)
        products = folder / "products.csv"
        rows = (f"Product {number},{number / 7:.4f},sku{number:07}" for number in range(options.rows))
        products.write_text("\n".join(["name,price,sku", *rows]) + "\n")
        environment = os.environ | {"OUTSIDE_URL": url}
        each = f"{options.items} items of {options.seconds * 1000:g} ms"
        print(f"{each}, {options.rows:,} rows; median of {options.rounds}", flush=True)
        try:
            old = _old_python(folder)
        except Absent as absent:
            print(f"before: absent. {absent}")
            old = ""
        contenders = _contenders(options, str(products), old)
        for settings, python in {(each.settings, each.python) for each in contenders}:
            environment["SHOP_DATABASE"] = str(folder / f"{settings}.sqlite3")
            _run(PREPARE.replace("ITEMS", str(options.items)), settings, python, environment)
        taken: dict[Contender, list[tuple[float, ...]]] = {each: [] for each in contenders}
        for number in range(options.rounds + 1):
            for each, times in taken.items():
                environment["SHOP_DATABASE"] = str(folder / f"{each.settings}.sqlite3")
                code = MEASURE.format(line=each.line, options=dict(each.options))
                seconds = tuple(map(float, _run(code, each.settings, each.python, environment).split()[-2:]))
                if number:  # the first round is to warm up
                    times.append(seconds)
        _tell({each: tuple(map(statistics.median, zip(*times, strict=True))) for each, times in taken.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100, help="pages, mails and messages")
    parser.add_argument("--seconds", type=float, default=0.05, help="that each of them takes")
    parser.add_argument("--rows", type=int, default=20_000, help="of the file of products")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


@contextmanager
def _outside(seconds: float) -> Iterator[str]:
    line = [sys.executable, str(PROJECT / "outside.py"), "0", str(seconds)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _old_python(folder: Path) -> str:
    """An interpreter that has the old packages. Absent says why there is none."""
    found = next((python for python in [*PYTHONS, sys.executable] if _is_new_enough(python)), None)
    if found is None:
        raise Absent(f"winidjango needs Python 3.12, and there is none of {', '.join(PYTHONS)}.")
    venv = folder / "venv"
    for line in ([found, "-m", "venv", venv], [venv / "bin" / "pip", "install", "--quiet", *PACKAGES]):
        done = subprocess.run([str(part) for part in line], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Absent(f"{' '.join(map(str, line))}: {done.stderr.strip()[-300:]}")
    return str(venv / "bin" / "python")


def _is_new_enough(python: str) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 12))"
    return (
        shutil.which(python) is not None
        and not subprocess.run([python, "-c", check], capture_output=True, check=False).returncode
    )


def _contenders(options: argparse.Namespace, products: str, old: str) -> list[Contender]:
    load = ("import_products", "--file", products, "--category-id", "5")
    after = [
        Contender("wikipedia", "one at a time", ("run_command", "wikipedia"), "settings", "", {"threads": 1}),
        Contender("wikipedia", "after", ("run_command", "wikipedia"), "settings", "", {}),
        Contender("import_products", "after", load, "settings", "", {}),
        Contender("send_notifications", "after", ("arun", "send_notifications"), "settings", "", {}),
        Contender("comment_bot", "after", ("arun", "comment_bot"), "settings", "", {"max_items": options.items}),
    ]
    if not old:
        return after
    before = [
        Contender("import_products", "before", load, "before", old, {}),
        Contender("send_notifications", "before", ("send_notifications",), "before", old, {}),
        Contender("comment_bot", "before", ("comment_bot",), "before", old, {"messages": options.items}),
    ]
    return before + after


def _run(code: str, settings: str, python: str, environment: Mapping[str, str]) -> str:
    setup = "import django\ndjango.setup()\n"
    done = subprocess.run(
        [python or sys.executable, "-W", "ignore", "-c", setup + code],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**environment, "DJANGO_SETTINGS_MODULE": f"project.{settings}"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"project.{settings} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _tell(taken: Mapping[Contender, tuple[float, ...]]) -> None:
    found = {(each.command, each.how): times for each, times in taken.items()}
    for command, system in (
        ("wikipedia", "django_commander"),
        ("import_products", "winidjango"),
        ("send_notifications", "django-managed-commands"),
        ("comment_bot", "PythonAnywhere's guide"),
    ):
        how = "before" if (command, "before") in found else "one at a time"
        first, (after, work) = found.get((command, how)), found[command, "after"]
        told = f"after {after:6.2f} s ({work:5.2f} s of CPU)"
        if first is not None:
            told = f"{how} {first[0]:6.2f} s ({first[1]:5.2f} s of CPU), {told}: {first[0] / after:.1f} times faster"
        print(f"{system}, {command}: {told}")


if __name__ == "__main__":
    main()
