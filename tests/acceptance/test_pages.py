"""The code in the pages, followed as it is written in a fresh project."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fresh import code_of, fresh_project, typed

MODELS_OF_THE_PAGES = """
class Shop(models.Model):
    code = models.CharField(max_length=20, unique=True)
    name = models.TextField()

class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)

class Shelf(models.Model):
    name = models.CharField(max_length=100, unique=True)

class Book(models.Model):
    isbn = models.CharField(max_length=20, unique=True)
    title = models.TextField()
    stock = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    author = models.ForeignKey(Author, models.PROTECT, null=True)
    shelves = models.ManyToManyField(Shelf)
"""
BOOKS = "ISBN-13,title,price,author,shelf\n1,One,2.50,Ann,top\n2,Two,3,Bob,top\n3,Three,1,Bob,top\n"
URLS = """
from django.urls import path
from shop.views import refresh
urlpatterns = [path("refresh/<str:domain>/", refresh)]
"""
SETUP = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
import polars as pl
from shop.models import Author, Book
"""
WRITES_ANN = """
import async_commander as ac
from shop.models import Politician

@ac.tracked
def write_ann():
    Politician.objects.create_or_update({"name": "Ann"}, {"born": 1970})

write_ann()
"""
A_FRAME = """
frame = pl.DataFrame({"ISBN-13": ["1-2", "3"], "title": ["a", "b"], "price": ["1.234,56", "12.50"],
                      "stock": ["1", None], "published": ["01.02.2024", "02.03.2024"]})
"""
SOME_BOOKS = """
books, authors = [Book(isbn="1", title="One"), Book(isbn="2", title="Two", stock=3)], [Author(name="Ann")]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The app `shop` of the pages: models, commands and a view."""
    fresh_project(tmp_path)
    shop = tmp_path / "shop"
    (shop / "commands" / "scrapers").mkdir(parents=True)
    models, _, parsing = code_of("README.md", "class Site").partition("import re ")
    (shop / "models.py").write_text(models + MODELS_OF_THE_PAGES + code_of("docs/provenance.md", "class Politician"))
    (shop / "parsing.py").write_text(f"import re {parsing}")
    (shop / "views.py").write_text(code_of("docs/running.md", "async def refresh"))
    (tmp_path / "mysite" / "urls.py").write_text(URLS)
    for name, page, has in (
        ("lines", "README.md", "Count the lines"),
        ("scrapers/fetch", "README.md", "Fetch the front page"),
        ("shops", "docs/commands.md", "Load the list of shops"),
        ("import_prices", "docs/commands.md", "Import a price list"),
        ("load_books", "docs/imports.md", "Load the price list"),
        ("raise_prices", "docs/long-jobs.md", "Raise all prices"),
        ("fetch_texts", "docs/long-jobs.md", "which an API lists in pages"),
    ):
        (shop / "commands" / f"{name}.py").write_text(code_of(page, has))
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["async_commander"]\n')
    (tmp_path / "books.csv").write_text(BOOKS)
    typed(tmp_path, "python manage.py makemigrations shop")
    return tmp_path


def test_the_commands_of_the_pages_run(project: Path) -> None:
    typed(project, "python manage.py migrate")
    assert "Commands checked: 7." in typed(project, "python manage.py arun --check")
    assert "full of ACME" in typed(project, "python manage.py arun import_prices ACME --file books.csv --mode full")
    calls = code_of("docs/imports.md", "bulk.create(books").splitlines()
    written = [call if not call.startswith("bulk.update") else f"bulk.create(books); {call}" for call in calls]
    anew = f"Book.objects.all().delete(); Author.objects.all().delete(){SOME_BOOKS}"
    (project / "in_steps.py").write_text(SETUP + anew.join(["", *(f"{call}\n" for call in written)]))
    typed(project, "python in_steps.py")
    (project / "compared.py").write_text(
        SETUP + "from async_commander import bulk" + SOME_BOOKS + code_of("docs/imports.md", "bulk.diff")
        + "\nassert Book.objects.count() == 2"
    )  # fmt: skip
    typed(project, "python compared.py")
    (project / "recorded.py").write_text(
        SETUP + WRITES_ANN + code_of("docs/provenance.md", "ann.runs")
        + '\nassert list(run.objects(Politician, action="created")) == [ann]'
    )  # fmt: skip
    typed(project, "python recorded.py")
    assert '"value": 0' in typed(project, "python manage.py arun raise_prices 5 --json")
    (project / "cleaned.py").write_text(SETUP + A_FRAME + code_of("docs/imports.md", "BookCleaner.clean(frame)"))
    assert "column 'price': '12.50' is not a number in the declared format" in typed(project, "python cleaned.py")


TENANTS = """
class Tenant(models.Model):
    schema = models.CharField(max_length=20)
    is_active = models.BooleanField(default=True)
"""
ORDERS_OF_ONE = """
import async_commander as ac

class Command(ac.AsyncCommand):
    tenant: str

    async def handle(self):
        if self.tenant == "broken":
            raise ValueError("no such schema")
"""
FOR_ALL = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
import async_commander as ac
from async_commander.models import Run
from shop.models import Tenant

for schema in ("one", "two", "broken"):
    Tenant.objects.create(schema=schema)
result = ac.run("fetch_all")
assert result.status == "partial" and result.counts["done"] == 2, result
runs = Run.objects.filter(command="fetch_orders")
assert sorted((run.parameters["tenant"], run.status) for run in runs) == [
    ("broken", "failed"), ("one", "succeeded"), ("two", "succeeded")
], [(run.parameters, run.status) for run in runs]
dead = Run.objects.get(command="fetch_all").items.get(state="dead")
assert "no such schema" in dead.error, dead.error
"""


def test_a_run_for_each_tenant_is_a_run_of_its_own(project: Path) -> None:
    shop = project / "shop"
    (shop / "models.py").write_text((shop / "models.py").read_text() + TENANTS)
    (shop / "commands" / "fetch_all.py").write_text(code_of("docs/tenants.md", "of every tenant"))
    (shop / "commands" / "fetch_orders.py").write_text(ORDERS_OF_ONE)
    typed(project, "python manage.py makemigrations shop")
    typed(project, "python manage.py migrate")
    (project / "for_all.py").write_text(FOR_ALL)
    typed(project, "python for_all.py")


IN_THE_LOOP = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
cell = eval(code, {})
if inspect.iscoroutine(cell):
    asyncio.run(cell)
"""


def test_what_the_page_about_shells_types_works(project: Path) -> None:
    typed(project, "python manage.py migrate")
    page = "docs/shell.md"
    in_the_shell = [code_of(page, has) for has in ("ac.run(", "ac.history", "Command().iterate()")]
    (project / "shell.py").write_text(
        "\n".join([*SETUP.splitlines()[:4], *in_the_shell, "assert files and result.counts['done']"])
    )
    typed(project, "python shell.py")
    cells = code_of(page, "django.setup()").replace("/srv/shop", str(project)) + code_of(page, "async for event")
    (project / "cells.py").write_text(cells)
    (project / "notebook.py").write_text(IN_THE_LOOP.replace("sys.stdin.read()", "open('cells.py').read()"))
    assert "RunFinished(" in typed(project, "python notebook.py")


def test_the_tests_of_the_page_about_testing_pass(project: Path) -> None:
    tests = ("test_books", "async_client", "InMemoryRecorder()", "httpx_mock", "a_crash_costs", "that_is_away")
    (project / "test_shop.py").write_text("\n".join(code_of("docs/testing.md", has) for has in tests))
    (project / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = mysite.settings\npythonpath = .\n")
    assert "6 passed" in typed(project, "python -m pytest -q test_shop.py")


BROKER = """
import asyncio

class Message:
    sender, answers = "Ada", []
    async def reply(self, text):
        self.answers.append(text)
    async def acknowledge(self):
        self.answers.append("acknowledged")

class Broker:
    async def messages(self):
        yield Message()
        await asyncio.sleep(60)
    async def close(self): ...

async def connect():
    return Broker()
"""
BOT = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
import async_commander as ac
from shop.broker import Message
assert ac.run("inbox_bot", max_items=1).status == "succeeded"
assert Message.answers == ["Thank you, Ada!", "acknowledged"], Message.answers
"""


def test_the_bot_of_the_page_answers(project: Path) -> None:
    typed(project, "python manage.py migrate")
    (project / "shop" / "broker.py").write_text(BROKER)
    (project / "shop" / "commands" / "inbox_bot.py").write_text(
        code_of("docs/bots.md", "class Command(ac.DownloadIterate")
    )
    (project / "bot.py").write_text(BOT)
    typed(project, "python bot.py")


MODELS_OF_THE_MOVE = """
from django.db import models
from async_commander.contrib.compat.django_commander import LoggedExtendedManager, LoggedExtendedModel

class Politician(LoggedExtendedModel):
    name = models.CharField(max_length=100, unique=True)
    region = models.CharField(max_length=20, default="eu")
    summary = models.TextField(default="")
    objects = LoggedExtendedManager().as_manager()

class Product(models.Model):
    name = models.TextField()
    sku = models.CharField(max_length=20, unique=True)
    price = models.FloatField(null=True)

class Recipient(models.Model):
    address = models.TextField()
    notified = models.BooleanField(default=False)

class Category(models.Model):
    name = models.TextField()

class Comment(models.Model):
    author = models.TextField()
    timestamp = models.DateTimeField(auto_now_add=True)
    text = models.TextField()
"""
SERVICES_OF_THE_MOVE = """
def page_about(name):
    return f"All about {name}"

sent = []
send_mail = sent.append
"""
MESSENGER = """
replies = []

class Message:
    contents = "ann"
    reply = replies.append

class Connection:
    def __init__(self, secret):
        self.secret = secret
    def next_message(self):
        return Message()
"""
ROSTERS = """
import async_commander as ac

class Command(ac.AsyncCommand):
    region: str
    async def handle(self): ...
"""
THE_MOVE = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
import async_commander as ac
import whatssignagram
from django.core.management import call_command
from shop import services
from shop.models import Category, Comment, Politician, Product, Recipient

Politician.objects.create(name="Ann")
ac.run("rosters_load", region="eu")
call_command("run_command", "rosters_old", "eu")
assert [each.name for each in Politician.objects.get(summary="All about Ann").commands] == ["rosters_old"]
call_command("old_products", "--file", "products.csv", "--dry_run")
assert not Product.objects.exists()
call_command("old_products", "--file", "products.csv")
ac.run("import_products", file="products.csv")
assert list(Product.objects.values_list("name", "sku", "price")) == [("A", "s1", 1.5)]
for old_or_new in (lambda: call_command("old_notifications"), lambda: ac.run("send_notifications")):
    Recipient.objects.create(address="a@example.org")
    old_or_new()
assert services.sent == ["a@example.org"] * 2 and not Recipient.objects.filter(notified=False).exists()
call_command("load_categories")
assert Category.objects.get().name == "books"
Comment.objects.create(author="ann", text="Hello")
ac.run("comment_bot", max_items=3)
assert whatssignagram.replies == ["Hello"] * 3
"""


def moved(system: str) -> str:
    """The page's "before" of a system, with the import line that the page gives for it."""
    before = code_of("docs/migrating.md", f"from {system}")
    lines = [line for line in before.splitlines() if not line.startswith(("from wini", "from django_"))]
    package = system.removeprefix("django_") if "managed" in system else system
    return code_of("docs/migrating.md", f"compat.{package} import") + "\n".join(lines)


def test_the_code_of_the_page_about_moving_over_runs_before_and_after(tmp_path: Path) -> None:
    fresh_project(tmp_path)
    shop = tmp_path / "shop"
    for folder in ("commands/rosters", "management/commands"):
        (shop / folder).mkdir(parents=True)
    for name, code in {
        "models": MODELS_OF_THE_MOVE,
        "services": SERVICES_OF_THE_MOVE,
        "../whatssignagram": MESSENGER,
        "commands/rosters/load": ROSTERS,
        "commands/rosters/old": moved("django_commander"),
        "commands/rosters/pages": code_of("docs/migrating.md", "region: str"),
        "management/commands/old_products": moved("winidjango"),
        "commands/import_products": code_of("docs/migrating.md", "class ProductCleaner("),
        "management/commands/old_notifications": moved("django_managed_commands"),
        "commands/send_notifications": code_of("docs/migrating.md", '"""Notify everybody."""'),
        "management/commands/load_categories": code_of("docs/migrating.md", "Create the categories"),
        "commands/comment_bot": code_of("docs/migrating.md", "yield bot_connection"),
    }.items():
        (shop / f"{name}.py").write_text(code)
    settings = code_of("docs/migrating.md", "INSTALLED_APPS")
    with (tmp_path / "mysite" / "settings.py").open("a") as file:
        file.write(settings.replace("INSTALLED_APPS =", "INSTALLED_APPS +="))
    (tmp_path / "products.csv").write_text("Name,sku,price,more\nA,s1,1.5,x\n")
    typed(tmp_path, "python manage.py makemigrations shop")
    typed(tmp_path, "python manage.py migrate")
    assert "Commands checked: 6." in typed(tmp_path, "python manage.py arun --check")
    (tmp_path / "move.py").write_text(THE_MOVE)
    typed(tmp_path, "python move.py")
