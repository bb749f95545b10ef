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


def test_the_tests_of_the_page_about_testing_pass(project: Path) -> None:
    tests = ("test_books", "async_client", "InMemoryRecorder()", "httpx_mock")
    (project / "test_shop.py").write_text("\n".join(code_of("docs/testing.md", has) for has in tests))
    (project / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = mysite.settings\npythonpath = .\n")
    assert "4 passed" in typed(project, "python -m pytest -q test_shop.py")


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
