"""`ImportCommand` from extract to load, and what becomes of rows that do not fit."""

from __future__ import annotations

import csv
import json
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

import async_commander as ac
from async_commander.command.items import item_from_json
from async_commander.imports import Cleaner, ColumnError, SourceError, each, links, reference
from async_commander.imports.cleaner import ROW
from async_commander.imports.sources import pieces_of_file
from async_commander.models import Run, RunItem
from tests.testapp.models import Author, Book, Company, Node, Person, Product, Tag

if TYPE_CHECKING:
    from pathlib import Path


class Products(Cleaner):
    columns = {"sku": str, "name": str, "price": Decimal, "stock": int}
    rename = {"SKU": "sku"}
    precision = {"price": 2}
    required = ["sku"]


class LoadProducts(ac.ImportCommand):
    """Everything but the source."""

    cleaner = Products
    unique: ClassVar[Any] = {Product: ["sku"]}
    update: ClassVar[Any] = {Product: ["name", "price", "stock"]}

    def transform(self, frame):
        return {Product: [Product(**row) for row in frame.iter_rows(named=True)]}


class FromFile(LoadProducts):
    path: str

    def extract(self):
        return self.path


def rows(count: int, first: int = 0) -> pl.DataFrame:
    numbers = range(first, first + count)
    return pl.DataFrame({
        "SKU": [f"s{number:04}" for number in numbers],
        "name": ["n"] * count,
        "price": ["1.50"] * count,
        "stock": [str(number) for number in numbers],
    })  # fmt: skip


def from_frame(frame: Any, base: type[Any] = LoadProducts, **attributes: Any) -> Any:
    return type("Command", (base,), {"extract": lambda self: frame, "__module__": __name__, **attributes})


def dead(result: Any) -> list[str]:
    return sorted(RunItem.objects.filter(run_id=result.run_id, state="dead").values_list("error", flat=True))


def skus() -> list[str]:
    return list(Product.objects.order_by("sku").values_list("sku", flat=True))


# --- the source


def test_a_frame_is_loaded_in_batches(run: Any) -> None:
    result = run(from_frame(rows(25))(rows_per_batch=10))
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 3)
    assert len(skus()) == 25
    assert Product.objects.get(sku="s0007").price == Decimal("1.50")


def async_frames(self):
    async def frames():
        for first in (0, 10):
            yield rows(10, first)

    return frames()


def plain_frames(self):
    for first in (0, 10):
        yield rows(10, first)


async def awaited_frames(self):
    return [rows(10), rows(10, 10)]


async def yielded_frames(self):
    for first in (0, 10):
        yield rows(10, first)


@pytest.mark.parametrize(
    "extract",
    [lambda self: rows(20).lazy(), lambda self: [rows(20)], plain_frames, awaited_frames, yielded_frames],
)
def test_extract_is_written_in_any_way(run_on_lanes: Any, extract: Any) -> None:
    assert run_on_lanes(from_frame(None, extract=extract)(rows_per_batch=7)).status is ac.RunStatus.SUCCEEDED
    assert len(skus()) == 20


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl", "xlsx"])
def test_a_file_is_read_by_its_suffix(run_here: Any, tmp_path: Path, suffix: str) -> None:
    path, frame = tmp_path / f"products.{suffix}", rows(20)
    {
        "csv": frame.write_csv, "tsv": lambda to: frame.write_csv(to, separator="\t"),
        "parquet": frame.write_parquet, "jsonl": frame.write_ndjson, "xlsx": frame.write_excel,
    }[suffix](path)  # fmt: skip
    result = run_here(FromFile(path=str(path), rows_per_batch=8))
    assert (result.status, len(skus())) == (ac.RunStatus.SUCCEEDED, 20)


def test_an_unknown_suffix_a_missing_file_and_an_empty_one_fail_the_run(run_here: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    for name, message in (("x.doc", "suffix '.doc' is none of"), ("no.csv", "No such file"), ("x.csv", "is empty")):
        with pytest.raises(ac.RunFailed, match=message):
            run_here(FromFile(path=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("extracted", "message"),
    [
        (7, "extract.* returned int 7; allowed: a DataFrame, a LazyFrame"),
        ([1], "extract.. gave a int among its frames"),
    ],
)
def test_what_is_no_table_is_refused(run_here: Any, extracted: Any, message: str) -> None:
    with pytest.raises((ac.RunFailed, ac.InvalidCommand), match=message):
        run_here(from_frame(extracted)())


# --- bad files


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_byte_order_mark_is_no_part_of_the_first_name(run_here: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "\ufeffSKU,name,price,stock\na,ä,1.00,1\n")
    assert run_here(FromFile(path=path)).status is ac.RunStatus.SUCCEEDED
    assert Product.objects.get().name == "ä"


def test_a_row_in_another_encoding_is_rejected_and_the_encoding_can_be_set(run_here: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "SKU,name,price,stock\na,ok,1.00,1\nb,ä,1.00,1\n".encode("cp1252"))
    result = run_here(FromFile(path=path, rejected_to=str(tmp_path / "no.csv")))
    assert (result.status, skus()) == (ac.RunStatus.PARTIAL, ["a"])
    assert "column 'name': '\\udce4' is not in utf-8. Set encoding, as in 'cp1252'" in dead(result)[0]
    assert b"b,\xe4,1.00,1,3," in (tmp_path / "no.csv").read_bytes()
    right = type("Command", (FromFile,), {"encoding": "cp1252", "__module__": __name__})
    assert run_here(right(path=path)).status is ac.RunStatus.SUCCEEDED
    assert Product.objects.get(sku="b").name == "ä"


def test_utf_16_is_known_by_its_mark(run_here: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "SKU,name,price,stock\na,n,1.00,1\n".encode("utf-16"))
    with pytest.raises(ac.RunFailed, match="set encoding = 'utf-16'"):
        run_here(FromFile(path=path))
    right = type("Command", (FromFile,), {"encoding": "utf-16", "__module__": __name__})
    assert run_here(right(path=path)).status is ac.RunStatus.SUCCEEDED


def test_ragged_rows_are_rejected_with_their_lines(run_here: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv", 'SKU,name,price,stock\na,"two\nlines",1.00,1\nb,n\n\nc,n,1.00,1,more\nd,n,1.00,1\n'
    )
    result = run_here(FromFile(path=path))
    assert (result.status, skus()) == (ac.RunStatus.PARTIAL, ["a", "d"])
    assert [told.partition(" Quote")[0] for told in dead(result)] == [
        "Row 4, it has 2 fields, the header has 4.", "Row 6, it has 5 fields, the header has 4.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("SKU,name,stock", "Missing columns: 'price'"),
        ("SKU,name,price,stock,name", "columns twice: 'name'"),
        ("SKU;name;price;stock", "another delimiter. Set delimiter = ';'"),
        ("SKU,sku,name,price,stock", "Two columns are to be 'sku'"),
    ],
)
def test_columns_that_are_missing_or_doubled_fail_the_run_before_a_row(
    run_here: Any, tmp_path: Path, header: str, message: str
) -> None:
    sign = ";" if ";" in header else ","
    path = write(tmp_path / "x.csv", f"{header}\n{sign.join('1' * (header.count(sign) + 1))}\n")
    with pytest.raises(ac.RunFailed, match=message):
        run_here(FromFile(path=path))
    assert skus() == []


def test_a_new_column_is_dropped_or_refused(run_here: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "SKU,name,price,stock,new\na,n,1.00,1,x\n")
    assert run_here(FromFile(path=path)).status is ac.RunStatus.SUCCEEDED
    strict = type("Strict", (Products,), {"extra_columns": "refuse"})
    with pytest.raises(ac.RunFailed, match="Unexpected columns: 'new'"):
        run_here(type("Command", (FromFile,), {"cleaner": strict, "__module__": __name__})(path=path))


def test_a_quote_that_is_not_closed_is_told_with_its_line(run_here: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("async_commander.imports.sources.LONGEST_FIELD", 1000)
    before = csv.field_size_limit(1000)
    path = write(tmp_path / "x.csv", 'SKU,name,price,stock\na,"n,1.00,1\n' + "b,n,1.00,1\n" * 200)
    try:
        with pytest.raises(ac.RunFailed, match="Is a quote not closed"):
            run_here(FromFile(path=path))
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_grows_is_read_as_it_was_without_half_a_line(tmp_path: Path, suffix: str, caplog: Any) -> None:
    path = tmp_path / f"x.{suffix}"
    lines = {"csv": ["a,b", "1,2", "3,4", "5"], "jsonl": ['{"a": 1}', '{"a": 3}', '{"a']}[suffix]
    write(path, "\n".join(lines))
    pieces = pieces_of_file(path, 1, encoding="utf-8", delimiter=",")
    found = [next(pieces)]
    with path.open("a") as file:
        file.write("5,6\n7,8\n")
    found += pieces
    assert [list(map(str, frame["a"])) for frame, _ in found] == [["1"], ["3"]]
    assert not any(rejected for _, rejected in found)
    assert "grew while it was read" in caplog.text


def test_a_file_that_is_cut_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write(path, "a,b\n" + "1,2\n" * 100)
    pieces = pieces_of_file(path, 1, encoding="utf-8", delimiter=",")
    next(pieces)
    write(path, "a,b\n")
    with pytest.raises(SourceError, match="was cut from 404 to 4 bytes"):
        list(pieces)


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,b\n1,2\n3,4")
    ((frame, _),) = pieces_of_file(path, 10, encoding="utf-8", delimiter=",")
    assert frame["b"].to_list() == ["2", "4"]


def test_lines_that_are_no_json_are_rejected_and_absent_names_are_null(run_here: Any, tmp_path: Path) -> None:
    lines = [{"SKU": "a", "name": "n", "price": 1.1, "stock": 1}, {"SKU": "b", "name": "m", "price": "2"}, [1]]
    path = write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, lines)) + "\n{broken\n")
    result = run_here(FromFile(path=path))
    assert list(Product.objects.order_by("sku").values_list("sku", "price", "stock")) == [
        ("a", Decimal("1.10"), 1), ("b", Decimal("2.00"), None),
    ]  # fmt: skip
    assert [told[:31] for told in dead(result)] == [
        "Row 3, it is no line of JSON: n",
        "Row 4, it is no line of JSON: E",
    ]


# --- rows that do not fit


def test_a_bad_row_is_a_dead_letter_and_the_others_are_loaded(run: Any, tmp_path: Path) -> None:
    frame = rows(20).with_columns(stock=pl.when(pl.col("SKU") == "s0013").then(pl.lit("many")).otherwise("stock"))
    result = run(from_frame(frame)(rows_per_batch=8, rejected_to=str(tmp_path / "no.csv")))
    assert (result.status, len(skus()), result.counts["dead"]) == (ac.RunStatus.PARTIAL, 19, 1)
    item = RunItem.objects.get(run_id=result.run_id, state="dead")
    assert item.reason == "rejected"
    assert "Row 14, column 'stock': 'many' is not a number" in item.error
    with (tmp_path / "no.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["SKU"], row["stock"], row["rejected_row"]) == ("s0013", "many", "14")
    assert "is not a number" in row["rejected_because"]


def test_batches_and_rejected_rows_are_called_by_their_places(run: Any) -> None:
    refused = rows(20).with_columns(
        pl.when(pl.col("SKU") == "s0012").then(pl.lit("x")).otherwise("stock").alias("stock")
    )
    result = run(from_frame(refused)(rows_per_batch=10))
    labels = RunItem.objects.filter(run_id=result.run_id).values_list("label", flat=True)
    assert set(labels) == {"rows 1 to 10", "rows 11 to 20", "row 13"}


def test_a_row_that_the_database_refuses_costs_no_other(run_here: Any) -> None:
    class Insert(LoadProducts):
        unique = {}

        def extract(self):
            return rows(10)

    Product.objects.create(sku="s0003")
    result = run_here(Insert())
    assert (result.status, len(skus()), result.counts["dead"]) == (ac.RunStatus.PARTIAL, 10, 1)
    assert "Row 4, it fits, and was refused: IntegrityError" in dead(result)[0]


def test_all_models_of_a_row_are_loaded_or_none(run_here: Any) -> None:
    class Books(ac.ImportCommand):
        def extract(self):
            return pl.DataFrame({"author": ["a", "b", "c"], "isbn": ["1", "1", "2"]})

        def transform(self, frame):
            authors = [Author(name=name) for name in frame["author"]]
            books = [
                Book(isbn=isbn, author=author, title="t") for isbn, author in zip(frame["isbn"], authors, strict=True)
            ]
            return {Book: books, Author: authors}

    result = run_here(Books())
    assert sorted(Book.objects.values_list("author__name", "isbn")) == [("a", "1"), ("c", "2")]
    assert sorted(Author.objects.values_list("name", flat=True)) == ["a", "c"]
    assert result.counts["dead"] == 1


class Summed(Products):
    unique = [["sku"]]
    sum_duplicates = ["stock"]


def test_sums_of_duplicates_outlive_the_halving_of_a_refused_batch(run: Any) -> None:
    Product.objects.create(sku="s0006", stock=1)
    frame = pl.concat([rows(9), rows(9), rows(9).filter(pl.col("SKU") != "s0006")])
    result = run(from_frame(frame, cleaner=Summed, unique={})())
    loaded = dict(Product.objects.values_list("sku", "stock"))
    assert loaded == {f"s{number:04}": number * 3 if number != 6 else 1 for number in range(9)}
    assert (result.status, result.counts["dead"]) == (ac.RunStatus.PARTIAL, 2)


def test_sums_are_those_of_a_batch_and_a_source_that_is_grouped_sums_the_file(run_here: Any, tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    pl.concat([rows(4, 1), rows(4, 1)]).write_csv(path)
    run_here(from_frame(pl.read_csv(path, infer_schema=False), cleaner=Summed)(rows_per_batch=4))
    assert dict(Product.objects.values_list("sku", "stock"))["s0003"] == 3, "the later batch wins"

    def grouped(self):
        return pl.scan_csv(path).group_by("SKU", "name", "price").agg(pl.sum("stock")).sort("SKU")

    run_here(type("Command", (LoadProducts,), {"extract": grouped, "__module__": __name__})(rows_per_batch=4))
    assert dict(Product.objects.values_list("sku", "stock")) == {f"s{n:04}": 2 * n for n in range(1, 5)}


def test_a_refused_row_takes_those_that_were_merged_into_it_along(run_here: Any, tmp_path: Path) -> None:
    Product.objects.create(sku="s0001", stock=0)
    frame = pl.concat([rows(3), rows(3)])
    result = run_here(from_frame(frame, cleaner=Summed, unique={})(rejected_to=str(tmp_path / "no.csv")))
    told = dead(result)
    assert "Row 2, it fits, and was refused: IntegrityError" in told[0]
    assert "Row 5, it was merged into row 2, which fits, and was refused: IntegrityError" in told[1]
    Product.objects.all().delete()
    again = from_frame(pl.read_csv(tmp_path / "no.csv", infer_schema=False), cleaner=Summed)
    assert run_here(again()).status is ac.RunStatus.SUCCEEDED
    assert Product.objects.values_list("sku", "stock").get() == ("s0001", 2)


def test_refused_rows_of_a_frame_that_clean_made_shorter_are_themselves(run_here: Any) -> None:
    for sku in ("s0003", "s0005"):
        Product.objects.create(sku=sku)

    def without_places(self, frame):
        return frame.filter(pl.col("SKU") > "s0001").select(sku="SKU")

    def with_places(self, frame):
        return frame.filter(pl.col("SKU") > "s0001").select(ROW, sku="SKU").reverse()

    result = run_here(from_frame(rows(8), clean=without_places, unique={})())
    assert len(dead(result)) == 2
    assert all("Row 1, it is one of the rows 1 to 8, fits, and was refused" in one for one in dead(result))
    items = RunItem.objects.filter(run_id=result.run_id, state="dead").values_list("item", flat=True)
    assert sorted(item_from_json(item).data["sku"] for item in items) == ["s0003", "s0005"]
    Product.objects.exclude(sku__in=["s0003", "s0005"]).delete()
    result = run_here(from_frame(rows(8), clean=with_places, unique={})())
    assert [one.partition(",")[0] for one in dead(result)] == ["Row 4", "Row 6"]


def test_a_foreign_key_that_names_no_row_costs_its_own_row_only(run: Any) -> None:
    author = Author.objects.create(name="a")

    def transform(self, frame):
        return {Book: [Book(isbn=isbn, title="t", author_id=key) for isbn, key in frame.select("isbn", "key").rows()]}

    frame = pl.DataFrame({"isbn": ["1", "2", "3"], "key": [author.pk, author.pk + 999, str(author.pk)]}, strict=False)
    result = run(from_frame(frame, LoadBooks, transform=transform)())
    assert sorted(Book.objects.values_list("isbn", flat=True)) == ["1", "3"]
    (told,) = dead(result)
    assert told.startswith("Row 2, it fits, and was refused: ")
    if connection.vendor != "mysql":  # which finds it out at once
        assert f"there is no testapp.Author with id={author.pk + 999}" in told


def test_a_row_may_come_before_the_one_it_refers_to_where_its_batch_is_halved(run_here: Any) -> None:
    def transform(self, frame):
        return {
            Node: [
                Node(name=name, parent=None if parent is None else reference(Node, name=parent))
                for name, parent in frame.select("name", "parent").rows()
            ]
        }

    frame = pl.DataFrame({"name": ["c", "b", "a", "x", "y"], "parent": ["b", "a", None, "nobody", "x"]})
    command = from_frame(frame, transform=transform, cleaner=None, unique={Node: ["name"]}, update={})
    result = run_here(command())
    assert sorted(Node.objects.values_list("name", "parent__name")) == [("a", None), ("b", "a"), ("c", "b")]
    assert [told.partition(",")[0] for told in dead(result)] == ["Row 4", "Row 5"]


def test_an_error_of_the_authors_own_is_not_the_rows(run_here: Any) -> None:
    def transform(self, frame):
        raise AttributeError("typo")

    with pytest.raises(ac.RunFailed, match="typo"):
        run_here(from_frame(rows(3), transform=transform)())


@pytest.mark.parametrize(
    ("transformed", "message"),
    [
        ([], r"transform\(\) returned list; a dict is needed"),
        ({"Product": []}, "the key 'Product'; a model is needed"),
        ({Product: [1]}, "returned 1 under Product"),
        ({Product: [Tag(name="x")]}, "under Product, of which it is none"),
    ],
)
def test_a_wrong_mapping_is_refused(run_here: Any, transformed: Any, message: str) -> None:
    with pytest.raises((ac.RunFailed, ac.InvalidCommand), match=message):
        run_here(from_frame(rows(1), transform=lambda self, frame: transformed)())


def test_an_empty_mapping_loads_nothing(run_here: Any) -> None:
    assert run_here(from_frame(rows(3), transform=lambda self, frame: {})()).status is ac.RunStatus.SUCCEEDED
    assert skus() == []


def test_converters_and_duplicates_act_in_an_import(run_here: Any) -> None:
    merging = type("Merging", (Products,), {
        "unique": [["sku"]], "sum_duplicates": ["stock"], "convert": {"sku": each(str.upper)},
    })  # fmt: skip
    frame = pl.concat([rows(3), rows(3)])
    run_here(from_frame(frame, cleaner=merging)())
    assert list(Product.objects.order_by("sku").values_list("sku", "stock")) == [
        ("S0000", 0),
        ("S0001", 2),
        ("S0002", 4),
    ]


def test_hooks_may_be_async(run_here: Any) -> None:
    async def clean(self, frame):
        return frame.select(sku="SKU")

    async def transform(self, frame):
        return {Product: [Product(sku=sku) for sku in frame["sku"]]}

    run_here(from_frame(rows(3), clean=clean, transform=transform)())
    assert len(skus()) == 3


# --- again, and references


def test_a_second_run_overwrites_what_is_named_and_adds_the_rest(run_here: Any) -> None:
    run_here(from_frame(rows(5))())
    key = Product.objects.get(sku="s0000").pk
    Product.objects.update(facts={"kept": 1}, name="old")
    run_here(from_frame(rows(8))())
    first = Product.objects.get(sku="s0000")
    assert (len(skus()), first.pk, first.name, first.facts) == (8, key, "n", {"kept": 1})


class Breaking:
    """Its source breaks once the first batch is committed, as long as `broken`; then it yields the rest, too."""

    broken: ClassVar[bool] = True
    rest: ClassVar[Any]
    one_is_done: ClassVar[threading.Event]

    async def committed(self, item):
        self.one_is_done.set()

    def extract(self):
        yield rows(5)
        if self.broken:
            assert self.one_is_done.wait(60)
            raise AttributeError("the source broke")
        yield self.rest


def test_a_resumed_run_passes_over_batches_that_are_done(run_on_lanes: Any) -> None:
    class Twice(Breaking, LoadProducts):
        unique = {}
        rest = rows(5, 5)
        one_is_done = threading.Event()

    with pytest.raises(ac.RunFailed, match="the source broke"):
        run_on_lanes(Twice())
    assert len(skus()) == 5
    Twice.broken = False
    assert run_on_lanes(Twice(), resume=True).status is ac.RunStatus.SUCCEEDED
    assert len(skus()) == 10


class LoadBooks(ac.ImportCommand):
    unique = {Book: ["isbn"]}

    def transform(self, frame):
        return {
            Book: [
                Book(isbn=row["isbn"], title="t", author=reference(Author, name=row["author"]))
                for row in frame.iter_rows(named=True)
            ]
        }


def test_references_by_natural_key_cost_one_query_for_all(run_here: Any) -> None:
    authors = [Author.objects.create(name=f"a{number}") for number in range(30)]
    frame = pl.DataFrame({"isbn": [str(one) for one in range(300)], "author": [f"a{one % 30}" for one in range(300)]})
    run_here(from_frame(frame, LoadBooks)())
    assert Book.objects.filter(author=authors[7]).count() == 10


def test_references_are_looked_up_together(transactional_db: None) -> None:
    from async_commander.imports.loading import resolve

    Author.objects.bulk_create([Author(name=f"a{number}") for number in range(30)])
    books: list[Any] = [Book(isbn=str(one), author=reference(Author, name=f"a{one % 30}")) for one in range(300)]
    with CaptureQueriesContext(connection) as queries:
        resolve({Book: books}, "default")
    assert len(queries) == 1
    assert all(book.author_id for book in books)


def test_a_key_that_no_row_has_rejects_its_row(run_here: Any) -> None:
    Author.objects.create(name="a")
    frame = pl.DataFrame({"isbn": ["1", "2", "3"], "author": ["a", "nobody", "a"]})
    result = run_here(from_frame(frame, LoadBooks)())
    assert sorted(Book.objects.values_list("isbn", flat=True)) == ["1", "3"]
    assert (
        "Row 2, it fits, and was refused: NoSuchRow: there is no testapp.Author with name='nobody'" in dead(result)[0]
    )


def test_a_reference_may_name_a_row_of_the_same_batch_or_have_several_fields(run_here: Any) -> None:
    def transform(self, frame):
        author = Author(name="new")
        return {
            Book: [Book(isbn="1", title="t", author=reference(Author, name="new"))],
            Author: [author],
            Node: [Node(name="x", parent=reference(Node, name="root", parent_id=None)), Node(name="root")],
        }

    with_none = run_here(from_frame(rows(1), transform=transform)())
    assert with_none.status is ac.RunStatus.SUCCEEDED
    assert Book.objects.get().author.name == "new"
    assert Node.objects.get(name="x").parent.name == "root"


def test_a_circle_through_a_key_that_may_be_null_is_closed_afterwards(run_here: Any) -> None:
    def transform(self, frame):
        firms = {sku: Company(name=sku) for sku in frame["sku"]}
        people = [Person(email=f"{name}@x", company=firm) for name, firm in firms.items()]
        for person in people:
            person.company.boss = person
        return {Person: people, Company: firms.values()}

    again = {"unique": {Person: ["email"], Company: ["name"]}, "transform": transform}
    for _ in range(2):
        run_here(from_frame(rows(4), **again)())
        assert Company.objects.filter(boss__company_id=1).count() <= 1
        assert [(one.name, one.boss.email) for one in Company.objects.order_by("name")] == [
            (f"s000{number}", f"s000{number}@x") for number in range(4)
        ]
    assert Person.objects.count() == 4


def test_a_ring_in_one_table_is_closed_as_well(run_here: Any) -> None:
    def transform(self, frame):
        nodes = [Node(name=str(number)) for number in range(3)]
        for number, node in enumerate(nodes):
            node.parent = nodes[(number + 1) % 3]
        return {Node: [*nodes, Node(name="leaf", parent=nodes[0])]}

    assert run_here(from_frame(rows(1), transform=transform)()).status is ac.RunStatus.SUCCEEDED
    assert Node.objects.get(name="leaf").parent.parent.parent.parent.name == "0"


def test_many_to_many_links_are_loaded_once(run_here: Any) -> None:
    Tag.objects.create(name="there")

    def transform(self, frame):
        products = [Product(sku=sku) for sku in frame["sku"]]
        new = Tag(name="new")
        tags = [link for one in products for link in links(one, "tags", [new, reference(Tag, name="there")])]
        return {Product.tags.through: tags, Product: products, Tag: [new]}

    again = {"unique": {Product: ["sku"], Tag: ["name"]}, "update": {}, "transform": transform}
    for _ in range(2):
        assert run_here(from_frame(rows(3), **again)()).status is ac.RunStatus.SUCCEEDED
        assert Product.tags.through.objects.count() == 6
    assert set(Product.objects.first().tags.values_list("name", flat=True)) == {"new", "there"}


# --- what left the source


class Removing(LoadProducts):
    removes: ClassVar[Any] = [Product]


def test_what_left_the_source_is_removed_where_delete_is_given(run_here: Any) -> None:
    Tag.objects.create(name="not of the import")
    run_here(from_frame(rows(10), Removing)())
    run_here(from_frame(rows(4), Removing)())
    assert len(skus()) == 10
    result = run_here(from_frame(rows(4), Removing)(rows_per_batch=3), delete=True)
    assert (result.status, skus()) == (ac.RunStatus.SUCCEEDED, ["s0000", "s0001", "s0002", "s0003"])
    assert Tag.objects.exists()


def test_batches_that_failed_are_tried_again_and_only_what_left_the_source_is_removed(run_here: Any) -> None:
    run_here(from_frame(rows(10), Removing)())
    broken = {"sku": "s0003"}

    def transform(self, frame):
        if broken.get("sku") in frame["sku"]:
            raise RuntimeError("no")
        return LoadProducts.transform(self, frame)

    failing = from_frame(rows(8), Removing, transform=transform)
    first = run_here(failing, rows_per_batch=2, delete=True)
    assert (first.status, first.counts["done"], first.counts["dead"], len(skus())) == ("partial", 3, 1, 10)
    broken.clear()
    result = run_here(failing, retry_failed=first.run_id)
    assert (result.run_id, result.status, result.counts["done"]) == (first.run_id, "succeeded", 4)
    assert skus() == [f"s{number:04}" for number in range(8)]


def test_only_owned_rows_are_removed(run_here: Any) -> None:
    Product.objects.create(sku="another supplier's")
    run_here(from_frame(rows(3), Removing)())

    def owned(self, model):
        return model.objects.filter(sku__startswith="s")

    run_here(from_frame(rows(1), Removing, owned=owned)(), delete=True)
    assert skus() == ["another supplier's", "s0000"]


def test_what_is_loaded_and_removed_is_recorded(run_here: Any) -> None:
    run_here(from_frame(rows(3), Removing)())
    run_here(from_frame(rows(2, 2), Removing, provenance=True)(), delete=True)
    kept = Product.objects.in_bulk(field_name="sku")
    logs = Run.objects.latest().object_logs.filter(content_type__model="product")
    assert sorted(logs.values_list("action", flat=True)) == ["created", "deleted", "deleted", "updated"]
    told = {log.action: log.object_id for log in logs}
    assert (told["created"], told["updated"]) == (str(kept["s0003"].pk), str(kept["s0002"].pk))


def test_an_empty_source_removes_everything_and_a_failed_one_nothing(run_here: Any) -> None:
    run_here(from_frame(rows(3), Removing)())
    broken = rows(2).with_columns(stock=pl.Series(["1", "many"]))
    assert run_here(from_frame(broken, Removing)(), delete=True).status is ac.RunStatus.PARTIAL
    assert len(skus()) == 3
    run_here(from_frame(rows(3), Removing)(rows_per_batch=1), delete=True, max_items=1)
    assert len(skus()) == 3
    run_here(from_frame([], Removing)(), delete=True)
    assert skus() == []


def test_a_dry_run_loads_nothing_and_removes_nothing(run_here: Any) -> None:
    run_here(from_frame(rows(5), Removing)())
    result = run_here(from_frame(rows(6, 2), Removing)(rows_per_batch=3), delete=True, dry_run=True)
    assert (result.status, len(skus())) == (ac.RunStatus.SUCCEEDED, 5)
    assert result.would == {"testapp.Product": {"upserted": 6, "deleted": 2}}
    kept = run_here(from_frame(rows(6, 2), Removing)(), dry_run=True)
    assert kept.would == {"testapp.Product": {"upserted": 6}}


def test_a_resumed_run_removes_nothing_that_it_loaded_before(run_on_lanes: Any) -> None:
    class Twice(Breaking, Removing):
        rest = rows(2, 5)
        one_is_done = threading.Event()

    run_on_lanes(from_frame(rows(9), Removing)())
    with pytest.raises(ac.RunFailed, match="the source broke"):
        run_on_lanes(Twice(), delete=True)
    assert len(skus()) == 9
    Twice.broken = False
    assert run_on_lanes(Twice(), resume=True).status is ac.RunStatus.SUCCEEDED
    assert skus() == [f"s000{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"removes": []}, "--delete: say in removes"),
        ({"unique": {}}, "removes names Product, which unique gives no key"),
    ],
)
def test_a_removal_that_cannot_be_meant_is_refused(run_here: Any, attributes: Any, message: str) -> None:
    with pytest.raises((ac.RunFailed, ac.InvalidCommand), match=message):
        run_here(from_frame(rows(1), Removing, **attributes)(), delete=True)


def test_the_options_are_on_the_command_line(db: None, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    both = type("Command", (FromFile,), {"removes": [Product], "__module__": __name__})
    command = ac.as_management_command(both)
    for count in (5, 2):
        rows(count).write_csv(path)
        call_command(
            command(),
            str(path),
            "--delete",
            "--rows-per-batch",
            "2",
            "--rejected-to",
            str(tmp_path / "no.csv"),
            verbosity=0,
        )
        assert len(skus()) == count
    assert (tmp_path / "no.csv").read_text() == "rejected_row,rejected_because\n"


def test_errors_of_columns_and_sources_are_public() -> None:
    assert issubclass(ColumnError, ac.AsyncCommanderError)
    assert issubclass(SourceError, ac.AsyncCommanderError)
