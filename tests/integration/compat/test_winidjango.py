"""What the documentation of winidjango shows, with another import line."""

from __future__ import annotations

import io
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, models

from async_commander.contrib.compat.winidjango import (
    ABCBaseCommand,
    BaseModel,
    CleaningDF,
    ImportDataBaseCommand,
    bulk_create_bulks_in_steps,
    bulk_create_in_steps,
    bulk_delete_in_steps,
    bulk_method_in_steps,
    bulk_update_in_steps,
    execute_sql,
    get_differences_between_bulks,
    get_field_names,
    get_fields,
    get_model_meta,
    get_step_chunks,
    hash_model_instance,
    multi_simulate_bulk_deletion,
    simulate_bulk_deletion,
    topological_sort_models,
)
from async_commander.exceptions import InvalidCommand
from async_commander.imports import Cleaner
from async_commander.models import Run
from tests.testapp.models import Author, Book, Effect, Product, Tag


@pytest.fixture(params=["committed", pytest.param("in a transaction", marks=pytest.mark.django_db)], autouse=True)
def kept(request: pytest.FixtureRequest) -> None:
    """Each test with a record beside the command's own connection, and within a test's transaction."""
    if request.param == "committed":
        request.getfixturevalue("transactional_db")


def called(command: BaseCommand, *args: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


# -- commands ----------------------------------------------------------------------------------------------------------


class ImportTags(ABCBaseCommand):
    """As the complete example: options of its own, built-in ones, rows in steps."""

    def add_command_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=str, required=True, help="Path to a file")
        parser.add_argument("--prefix", type=str, default="")

    def handle_command(self) -> None:
        batch_size = self.get_option(self.Options.BATCH_SIZE) or 1000
        tags = [Tag(name=self.get_option("prefix") + line) for line in self.lines()]
        created = bulk_create_in_steps(Tag, tags, step=batch_size)
        self.stdout.write(self.style.SUCCESS(f"Created {len(created)} tags"))

    def lines(self) -> list[str]:
        return Path(self.get_option("file")).read_text().split()


def test_a_command_reads_its_options_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "tags").write_text("a b c")
    assert "Created 3 tags" in called(ImportTags(), "--file", str(tmp_path / "tags"), "--batch_size", "2")
    assert Tag.objects.count() == 3
    run = Run.objects.get()
    assert (run.status, run.parameters["batch_size"], run.parameters["threads"]) == ("succeeded", 2, None)
    called(ImportTags(), "--file", str(tmp_path / "tags"), "--prefix", "x", "--batch-size", "2")
    assert Tag.objects.count() == 6


def test_a_dry_run_takes_back_what_the_command_wrote_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "tags").write_text("a b c")
    told = called(ImportTags(), "--file", str(tmp_path / "tags"), "--dry_run")
    assert "Created 3 tags" in told
    assert "DRY RUN" in told
    assert not Tag.objects.exists()
    assert Run.objects.get().dry_run


class Sleeps(ABCBaseCommand):
    def add_command_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alarm", action="store_true")

    def handle_command(self) -> None:
        Effect.objects.create(key="began")
        if self.get_option("alarm"):
            signal.alarm(1)
        try:
            time.sleep(20)
        except TimeoutError:
            self.stdout.write(self.style.ERROR("Command timed out"))
            raise


def test_a_time_out_ends_the_command_with_a_recorded_failure() -> None:
    before = signal.getsignal(signal.SIGALRM)
    for alarm, seconds in ((False, 1), (True, 15)):
        out = io.StringIO()
        with pytest.raises(TimeoutError, match=f"passed its time-out of {seconds} s"):
            call_command(Sleeps(), timeout=seconds, alarm=alarm, stdout=out, stderr=io.StringIO())
        assert "Command timed out" in out.getvalue()
        run = Run.objects.latest()
        assert (run.status, run.error) == ("failed", f"TimeoutError: the command passed its time-out of {seconds} s")
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(CommandError, match="a number of seconds from 1 is needed"):
        called(Sleeps(), "--timeout", "0")


def test_what_is_abstract_has_to_be_written_and_async_runs() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (ABCBaseCommand,), {"handle_command": lambda self: None})()

    class Async(ABCBaseCommand):
        run_once = True

        def add_command_arguments(self, parser: ArgumentParser) -> None: ...

        async def handle_command(self) -> None:
            await Effect.objects.acreate(key="async")

    called(Async())
    assert "Skipping" in called(Async())
    called(Async(), "--force")
    assert Effect.objects.filter(key="async").count() == 2


# -- imports -----------------------------------------------------------------------------------------------------------


class StoreCleaningDF(CleaningDF):
    AUTHOR_COL = "author"
    TITLE_COL = "title"
    ISBN_COL = "isbn"
    STOCK_COL = "stock"

    @classmethod
    def get_rename_map(cls) -> dict[str, str]:
        return {"Writer": cls.AUTHOR_COL}

    @classmethod
    def get_col_dtype_map(cls) -> dict[str, Any]:
        return {cls.AUTHOR_COL: pl.Utf8, cls.TITLE_COL: pl.Utf8, cls.ISBN_COL: pl.Utf8, cls.STOCK_COL: pl.Int64}

    @classmethod
    def get_no_null_cols(cls) -> tuple[str, ...]:
        return (cls.AUTHOR_COL, cls.ISBN_COL)

    @classmethod
    def get_unique_subsets(cls) -> tuple[tuple[str, ...], ...]:
        return ((cls.ISBN_COL,),)


class ImportBooks(ImportDataBaseCommand):
    """As the import of several models: the children first, to be put in order."""

    def add_command_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=str, required=True)

    def handle_import(self) -> pl.DataFrame:
        return pl.read_csv(self.get_option("file"))

    def get_cleaning_df_cls(self) -> type[CleaningDF]:
        return StoreCleaningDF

    def get_bulks_by_model(self, df: pl.DataFrame) -> dict[type[models.Model], Iterable[models.Model]]:
        if "nobody" in df["author"].to_list():
            self.stdout.write(self.style.ERROR("Missing authors"))
            return {}
        authors = {name: Author(name=name) for name in df["author"].unique().to_list()}
        books = [
            Book(isbn=row["isbn"], title=row["title"], stock=row["stock"], author=authors[row["author"]])
            for row in df.iter_rows(named=True)
        ]
        return {Book: books, Author: authors.values()}


ROWS = "Writer,title,isbn,stock,more\n Ann ,One,1,5,x\nBob,Two,2,6,x\nAnn,Again,1,7,x\n"


def test_an_import_cleans_and_writes_parents_first(tmp_path: Path) -> None:
    (tmp_path / "books.csv").write_text(ROWS)
    called(ImportBooks(), "--file", str(tmp_path / "books.csv"), "--batch_size", "1")
    assert set(Book.objects.values_list("isbn", "title", "author__name")) == {("1", "One", "Ann"), ("2", "Two", "Bob")}


def test_an_import_that_fails_or_is_dry_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "books.csv"
    path.write_text(ROWS)
    called(ImportBooks(), "--file", str(path), "--dry_run")
    assert (Book.objects.count(), Author.objects.count()) == (0, 0)
    path.write_text(ROWS.replace("Bob", "nobody"))
    assert "Missing authors" in called(ImportBooks(), "--file", str(path))
    path.write_text(ROWS)
    Book.objects.create(isbn="2", author=Author.objects.create(name="Zoe"))
    with pytest.raises(IntegrityError):
        called(ImportBooks(), "--file", str(path))
    assert (Book.objects.count(), Author.objects.count()) == (1, 1)


def test_rows_that_do_not_fit_are_named() -> None:
    frame = pl.DataFrame({"Writer": ["Ann", None], "title": ["One", "Two"], "isbn": ["1", "2"], "stock": ["5", "six"]})
    with pytest.raises(ValueError, match=r"(?s)1 row rejected:.*Row 2, column 'stock': 'six'"):
        StoreCleaningDF(frame)
    with pytest.raises(ValueError, match="Row 2, column 'author'"):
        StoreCleaningDF(frame.with_columns(stock=pl.lit("6")))


class Full(CleaningDF):
    @classmethod
    def get_rename_map(cls) -> dict[str, str]:
        return {"name": "Name", "price": "Price", "count": "Count"}  # as its code has it

    @classmethod
    def get_col_dtype_map(cls) -> dict[str, Any]:
        return {"name": pl.Utf8, "price": pl.Float64, "count": pl.Int64}

    @classmethod
    def get_fill_null_map(cls) -> dict[str, Any]:
        return {"name": "", "price": None, "count": 0}

    @classmethod
    def get_col_precision_map(cls) -> dict[str, int]:
        return {"price": 0}

    @classmethod
    def get_col_converter_map(cls) -> dict[str, Any]:
        return {"name": lambda series: series.str.to_uppercase(), "price": cls.skip_col_converter}

    @classmethod
    def get_drop_null_subsets(cls) -> tuple[tuple[str, ...], ...]:
        return (("price",),)

    @classmethod
    def get_unique_subsets(cls) -> tuple[tuple[str, ...], ...]:
        return (("name",),)

    @classmethod
    def get_add_on_duplicate_cols(cls) -> tuple[str, ...]:
        return ("count",)

    @classmethod
    def get_sort_cols(cls) -> tuple[tuple[str, bool], ...]:
        return (("name", True),)

    @classmethod
    def get_no_null_cols(cls) -> tuple[str, ...]:
        return ("count",)


def test_all_ten_hooks_of_a_cleaning_act() -> None:
    cleaned = Full({"Name": [" a", "b", "A", "c"], "Price": [0.4, 1.6, 0.4, float("nan")], "Count": [1, None, 2, 3]})
    assert cleaned.df.rows() == [("B", 2.0, 0), ("A", 0.0, 3)]
    assert Full.get_col_names() == ("name", "price", "count")
    assert issubclass(Full.cleaner(), Cleaner)
    assert Full.cleaner() is Full.cleaner()
    wrong = type("Wrong", (Full,), {"get_rename_map": classmethod(lambda cls: {"x": "y"})})
    with pytest.raises(InvalidCommand, match=r"Wrong.get_rename_map\(\) is \{'x': 'y'\}; allowed: \{raw: standard\}"):
        wrong({})


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_written_in_steps_and_returned() -> None:
    made = [Tag(name=str(number)) for number in range(5)]
    assert bulk_create_in_steps(Tag, iter(made), step=2) == made
    assert all(tag.pk for tag in made)
    for tag in made:
        tag.name += "!"
    assert bulk_update_in_steps(Tag, made, update_fields=["name"], step=2) == 5
    assert bulk_delete_in_steps(Tag, Tag.objects.filter(name__lt="3"), step=2) == (3, {"testapp.Tag": 3})
    assert bulk_delete_in_steps(Tag, made[3:]) == (2, {"testapp.Tag": 2})
    assert (bulk_create_in_steps(Tag, []), bulk_delete_in_steps(Tag, [])) == ([], (0, {}))


def test_rows_are_written_by_a_mode() -> None:
    made = bulk_method_in_steps(Tag, [Tag(name="a"), Tag(name="b")], step=1, mode="create")
    for tag in made:
        tag.name += "!"
    assert bulk_method_in_steps(Tag, made, step=1, mode="update", fields=["name"]) == 2
    assert set(Tag.objects.values_list("name", flat=True)) == {"a!", "b!"}
    assert bulk_method_in_steps(Tag, made, step=1, mode="delete") == (2, {"testapp.Tag": 2})
    with pytest.raises(ValueError, match="one of create, update, delete is needed"):
        bulk_method_in_steps(Tag, made, step=1, mode="upsert")
    assert list(get_step_chunks(made * 2, 3)) == [([*made, made[0]],), ([made[1]],)]
    assert hash_model_instance(Tag(name="a"), get_fields(Tag)) == hash_model_instance(Tag(name="a"), get_fields(Tag))
    assert hash_model_instance(Tag(name="a"), get_fields(Tag)) != hash_model_instance(Tag(name="b"), get_fields(Tag))
    assert hash_model_instance(Tag(pk=1), get_fields(Tag)) == hash_model_instance(Tag(pk=1, name="x"), [])


def test_several_models_are_written_together_or_not() -> None:
    ann = Author(name="Ann")
    books = [Book(author=ann, isbn="1"), Book(author=ann, isbn="2")]
    assert bulk_create_bulks_in_steps({Book: books, Author: [ann]}) == {Author: [ann], Book: books}
    bob = Author(name="Bob")
    with pytest.raises(IntegrityError):
        bulk_create_bulks_in_steps({Author: [bob], Book: [Book(author=bob, isbn="1")]})
    assert Author.objects.count() == 1
    assert topological_sort_models([Book, Author]) == [Author, Book]


def test_a_saved_row_equals_a_new_object_with_its_values() -> None:
    Product.objects.create(sku="1", name="One", facts={"a": [1]})
    Product.objects.create(sku="2", name="Two")
    wanted = [Product(sku="1", name="One", facts={"a": [1]}), Product(sku="3", name="Three")]
    there = list(Product.objects.order_by("sku"))
    gone, new, same, same_too = get_differences_between_bulks(there, wanted, get_fields(Product))
    assert ([each.sku for each in gone], [each.sku for each in new]) == (["2"], ["3"])
    assert (same, same_too) == ([there[0]], [wanted[0]])
    there[0].name = "changed"
    assert get_differences_between_bulks(there, there[:1], get_fields(Product))[2] == there[:1]
    assert get_differences_between_bulks([], wanted, get_fields(Product)) == ([], wanted, [], [])
    with pytest.raises(ValueError, match="must be of the same model type"):
        get_differences_between_bulks(there, [Tag(name="a")], [])  # type: ignore[list-item]


def test_a_deletion_is_simulated() -> None:
    ann = Author.objects.create(name="Ann")
    book = Book.objects.create(author=ann, isbn="1")
    tag = Tag.objects.create(name="a")
    assert simulate_bulk_deletion(Author, [ann]) == {Author: {ann}, Book: {book}}
    assert multi_simulate_bulk_deletion({Author: [ann], Tag: [tag]}) == {Author: {ann}, Book: {book}, Tag: {tag}}
    assert (simulate_bulk_deletion(Tag, []), Author.objects.count()) == ({}, 1)


def test_the_small_ones() -> None:
    Tag.objects.create(name="a")
    assert execute_sql("SELECT name FROM testapp_tag WHERE name = %(name)s", {"name": "a"}) == (["name"], [("a",)])
    assert execute_sql("UPDATE testapp_tag SET name = 'b'") == ([], [])
    assert get_model_meta(Tag).label == "testapp.Tag"
    assert {"id", "name", "products"} <= set(get_field_names(get_fields(Tag)))
    assert [field.name for field in BaseModel._meta.get_fields()] == ["created_at", "updated_at"]
    with pytest.raises(ImportError, match="migrate_safely has no counterpart"):
        from async_commander.contrib.compat.winidjango import migrate_safely  # noqa: F401
