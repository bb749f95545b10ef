"""The four commands of `examples/migrated` do what they did before, with the outside world on a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "examples" / "migrated"
WORK = """
import io
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from shop.models import Comment, Politician, Product, Recipient
import async_commander as ac

call_command("migrate", verbosity=0)
Politician.objects.bulk_create(Politician(name=f"p{number}") for number in range(30))
Recipient.objects.bulk_create(Recipient(address=f"r{number}@example.org") for number in range(30))
Comment.objects.create(user=User.objects.create(username="user1"), text="Hello")
quiet = {"stdout": io.StringIO(), "stderr": io.StringIO()}
call_command("run_command", "wikipedia", **quiet)
call_command("import_products", "--file", "PRODUCTS", "--category-id", "5", **quiet)
call_command("arun", "send_notifications", **quiet)
call_command("arun", "comment_bot", max_items=30, **quiet)
assert Politician.objects.filter(summary="All about p7", name="p7").exists()
assert not Politician.objects.filter(summary="").exists()
assert list(Product.objects.values_list("name", "sku", "category_id")) == [("A", "s1", 5), ("B", "s2", 5)]
assert not Recipient.objects.filter(notified=False).exists()
from async_commander.models import Run
runs = [(run.command, run.status, run.done) for run in Run.objects.order_by("pk")]
assert runs == [("wikipedia", "succeeded", 30), ("shop.import_products", "succeeded", 0),
                ("send_notifications", "succeeded", 30), ("comment_bot", "succeeded", 30)], runs
"""


@pytest.fixture
def url() -> Iterator[str]:
    line = [sys.executable, str(PROJECT / "outside.py"), "0", "0.01"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def test_the_four_commands_do_their_work(url: str, tmp_path: Path) -> None:
    products = tmp_path / "products.csv"
    products.write_text("name,price,sku\nA,1.5,s1\nB,2,s2\nB again,2,s2\n")
    environment = os.environ | {
        "OUTSIDE_URL": url,
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "project.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", WORK.replace("PRODUCTS", str(products))],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
