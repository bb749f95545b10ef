"""A COMMIT among other statements is found wherever it is one, and nowhere else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.database.statements import bare, text_of
from async_commander.database.transaction import ends_a_transaction

INSERT = "INSERT INTO t VALUES"
EVERYWHERE = [
    "SELECT 1; COMMIT",
    "COMMIT; SELECT 1",
    "SELECT ''';'; commit",
    "SELECT 1;;\n\tCommit Prepared 'a'",
    "SELECT 1; ROLLBACK",
    "SELECT 1; ROLLBACK AND CHAIN",
    "SELECT 1; ABORT",
    "SELECT 1; END",
    "SELECT 1; BEGIN",
    "SELECT 1; START /* it's */ TRANSACTION",
    "SELECT 1; PREPARE TRANSACTION 'a'",
    f"{INSERT}('cmt'); /* it's */ COMMIT; SELECT 'x'",
    f"{INSERT}('cmt'); -- it's\n COMMIT; SELECT 'x'",
    "SELECT 1; SELECT '",
    'SELECT 1; SELECT "',
]
ENDS = {
    "postgresql": [
        rf"{INSERT}(E'a\'b;'); COMMIT; BEGIN; SELECT ''",
        rf"{INSERT}(e'a'';\'b'); COMMIT; SELECT ''",
        "SELECT E'a'\n -- it's\n '\\';'; COMMIT; SELECT ''",
        r"SELECT U&'a\'; COMMIT; SELECT ''",
        r"SELECT B'\'; COMMIT; SELECT X'\'",
        r"SELECT nameE'a\'; COMMIT; SELECT ''",
        "SELECT 1; /* a /* b */ c */ COMMIT",
        "SELECT 1; /* a /*/ b */ c */ COMMIT",
        'SELECT 1 AS "it\'s"; COMMIT; SELECT 1 AS "it\'s"',
        'SELECT 1 AS "a""\'"; COMMIT; SELECT 1 AS "\'"',
        "SELECT $$ ' $$; COMMIT; SELECT '$$'",
        "SELECT $a$ $b$ ; $$ $a$; COMMIT; SELECT $a$ $a$",
        "SELECT a$$ FROM t; COMMIT; SELECT b$$ FROM t",
        "SELECT 1; -- it's\rCOMMIT; -- '",
        "SELECT a # 1; COMMIT",
        "SELECT 1; /* open",
        "SELECT 1; /* a /* b */ COMMIT",
        "SELECT 1; SELECT $a$ open $b$",
    ],
    "mysql": [
        rf"{INSERT}('a\'b;'); COMMIT; SELECT ''",
        rf'{INSERT}("a\"b;"); COMMIT; SELECT ""',
        "SELECT `it's`; COMMIT; SELECT `it's`",
        r"SELECT `\`; COMMIT; SELECT `\`",
        "SELECT 1; # it's\nCOMMIT; # '",
        "SELECT 1 --1; COMMIT",
        "SELECT 1; /* a /* b */ COMMIT",
        "SELECT 1; /*!COMMIT*/",
        "SELECT 1; SET autocommit = 1",
        "SELECT 1; SET SESSION autocommit = ON",
        "SELECT 1; /* open",
        "SELECT 1; SELECT `",
    ],
    "sqlite": [
        r"SELECT 'a\'; COMMIT; SELECT ''",
        "SELECT [it's]; COMMIT; SELECT [it's]",
        "SELECT `it's`; COMMIT; SELECT `it's`",
        "SELECT 1; /* a /* b */ COMMIT",
        "SELECT 1; SELECT [",
    ],
}
HARMLESS_EVERYWHERE = [
    "SELECT 1;",
    "SELECT 'a; COMMIT'; SELECT 2",
    "SELECT 'it''s; COMMIT'; SELECT 2",
    'SELECT 1 AS "a; COMMIT"; SELECT 2',
    "SELECT 1; -- COMMIT",
    "SELECT 1; -- ; COMMIT\nSELECT 2",
    "SELECT 1; /* ; COMMIT; */ SELECT 2",
    "SELECT 1; ROLLBACK TO SAVEPOINT a; RELEASE SAVEPOINT a",
    "SELECT 1; ROLLBACK /* ; */ TO a",
    "SELECT 1; SELECT commit FROM beginnings; SELECT 3 - 2 / 1",
    "SELECT 1; PREPARE a AS SELECT 1",
]
HARMLESS = {
    "postgresql": [
        "DO $$ BEGIN; END $$; SELECT 1",
        "CREATE FUNCTION f() RETURNS void AS $body$ BEGIN; COMMIT; $$ ; END $body$ LANGUAGE plpgsql; SELECT 1",
        r"SELECT E'a\'; COMMIT; '; SELECT 2",
        r"SELECT E'a''\\'; SELECT 'COMMIT; '",
        "SELECT 1; /* a /* b */ ; COMMIT; */ SELECT 2",
        "SELECT U&'\\0041; COMMIT'; SELECT U&\"; COMMIT\"",
        "SELECT $1, a #> '{b}', 1 - -1; SELECT 2",
        "SELECT N'; COMMIT', B'1'; SELECT 2",
        'SELECT "$$"; SELECT "$$; COMMIT"',
    ],
    "mysql": [
        r"SELECT 'it\'s; COMMIT'; SELECT 2",
        r'SELECT "it\"s; COMMIT"; SELECT 2',
        "SELECT `a; COMMIT`; SELECT 2",
        "SELECT 1; # ; COMMIT\nSELECT 2",
        "SELECT 1 --'; COMMIT; SELECT '; SELECT 2",
        "SELECT 1; SET NAMES utf8mb4",
    ],
    "sqlite": ["SELECT [a; COMMIT]; SELECT 2", "SELECT `a; COMMIT`; SELECT 2", "SELECT 1; /* ; COMMIT"],
}
VENDORS = sorted(ENDS)
CASES = [(vendor, text, True) for vendor in VENDORS for text in EVERYWHERE + ENDS[vendor]]
CASES += [(vendor, text, False) for vendor in VENDORS for text in HARMLESS_EVERYWHERE + HARMLESS[vendor]]


@pytest.mark.parametrize(("vendor", "text", "ends"), CASES)
def test_what_ends_a_transaction(vendor: str, text: str, ends: bool) -> None:
    assert ends_a_transaction(text, vendor) is ends


INSIDE = st.text("aE'\"`[]$;-#/*\\\n ", max_size=8).map(lambda text: f"{text};COMMIT;")
LINES = INSIDE.map(lambda text: text.replace("\n", " "))
FLAT = INSIDE.map(lambda text: text.replace("*", "+").replace("/", "+"))


def _in(left: str, right: str, *, doubled: str = "'", text: st.SearchStrategy[str] = INSIDE) -> st.SearchStrategy[str]:
    return text.map(lambda text: f"{left}{text.replace(doubled, doubled * 2)}{right}")


def _escaped(left: str, quote: str) -> st.SearchStrategy[str]:
    return INSIDE.map(lambda text: left + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote)


NOTES = [_in("/*", "*/", text=FLAT), _in("-- ", "\n", text=LINES)]
NO_BRACKET = INSIDE.map(lambda text: text.replace("]", ""))
HIDDEN = {
    "postgresql": st.one_of(
        *NOTES,
        _in("'", "'"),
        _in("U&'", "'"),
        _in('"', '"', doubled='"'),
        _escaped("E'", "'"),
        _in("/*/**/", "/*", text=FLAT).map(lambda text: f"{text}*/*/"),
        _in("$tag$", "$tag$"),
    ),
    "mysql": st.one_of(
        *NOTES, _escaped("'", "'"), _escaped('"', '"'), _in("`", "`", doubled="`"), _in("#", "\n", text=LINES)
    ),
    "sqlite": st.one_of(
        *NOTES, _in("'", "'"), _in('"', '"', doubled='"'), _in("`", "`", doubled="`"), _in("[", "]", text=NO_BRACKET)
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
@given(data=st.data())
def test_only_what_is_not_quoted_is_seen(vendor: str, data: st.DataObject) -> None:
    hidden = data.draw(st.lists(HIDDEN[vendor], max_size=4))
    assert not ends_a_transaction(" , ".join(["SELECT 1;", *hidden, "2"]), vendor)
    at = data.draw(st.integers(0, len(hidden)))
    text = " , ".join([*hidden[:at], "1; COMMIT; SELECT 2", *hidden[at:]])
    assert ends_a_transaction(text, vendor)


@pytest.mark.parametrize("vendor", VENDORS)
def test_code_stays_in_its_place(vendor: str) -> None:
    assert bare("a 'b' /* c */ \"d\" -- e\n;", vendor) == "a '''         ''' " + " " * 4 + "\n;"


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "sign", ["'", '"', "$", "$a", "$a$b", "/*", "*/", "-", "E'", "E'\n", "\\", "[", "`", "#", "a", "'\n--"]
)
def test_time_is_linear(vendor: str, sign: str) -> None:
    began = time.perf_counter()
    bare(sign * (200_000 // len(sign)), vendor)
    assert time.perf_counter() - began < 2


def test_a_statement_is_a_text_in_every_form() -> None:
    sql = pytest.importorskip("psycopg.sql")
    assert text_of("COMMIT", None) == text_of(b"COMMIT", None) == text_of(sql.SQL("COMMIT"), None) == "COMMIT"
