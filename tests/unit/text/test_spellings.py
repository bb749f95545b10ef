"""A secret is hidden however it is written, and wherever a text is cut."""

from __future__ import annotations

import base64
import html
import json
import pprint
import quopri
import shlex
import string
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from async_commander.text.redactor import HIDDEN, MARGIN, Redactor, Tail

CANARY = 'c4n4ry/with+odd "characters" & ü\\<%7e>'


def lowered(text: str) -> str:
    """Per cent escapes in lower case, as some servers write them."""
    return "".join(f"%{byte:02x}" if chr(byte) not in string.ascii_letters else chr(byte) for byte in text.encode())


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted": lambda text: quote(text, safe=""),
    "quoted but for a slash": quote,
    "quoted but for what paths may have": lambda text: quote(text, safe="/:@!$&'()*+,;="),
    "in a form": quote_plus,
    "in lower case": lowered,
    "all of it in per cent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "in a query, as yarl writes it": lambda text: quote_plus(text, safe="?/:@-._~!$'()*,"),
    "in a path, as yarl writes it": lambda text: quote(text, safe="/:@-._~!$'()*,+;="),
    "in JSON": json.dumps,
    "in JSON with all its letters": lambda text: json.dumps(text, ensure_ascii=False),
    "by repr": repr,
    "of bytes": lambda text: repr(text.encode()),
    "of a mapping": lambda text: str({"value": text}),
    "in HTML": html.escape,
    "in HTML, by numbers": lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    "in HTML, by decimal numbers": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "with a slash escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "in octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "in octal where a shell writes it so": lambda text: "".join(
        chr(byte) if 32 < byte < 127 and byte != 92 else f"\\{byte:03o}" for byte in text.encode()
    ),
    "in braces, as Rust and JavaScript write it": lambda text: "".join(f"\\u{{{ord(letter):x}}}" for letter in text),
}
CORES: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "hex in capitals": lambda data: data.hex().upper(),
    "base64": lambda data: base64.b64encode(data).decode(),
    "base64 for URLs": lambda data: base64.urlsafe_b64encode(data).decode(),
}
DECODERS = {
    "hex": bytes.fromhex,
    "hex in capitals": bytes.fromhex,
    "base64": base64.b64decode,
    "base64 for URLs": base64.urlsafe_b64decode,
}
secrets = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), min_size=6, max_size=40)
    | st.text("aZ09+/=%&\"'\\ <>;:@#?!$(),.-_~üß€😀", min_size=6, max_size=40)
    | st.text(string.ascii_letters + string.digits, min_size=6, max_size=60)
).filter(lambda text: text == text.strip() and text == " ".join(text.split()))


@given(secrets, st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=3))
@example(CANARY, ["in JSON", "in JSON", "in JSON"])
@example(CANARY, ["in HTML", "in JSON", "quoted"])
@example("%41%42%43", ["quoted", "in JSON"])
@example("\\\\\\\\\\\\", ["in JSON", "by repr"])
def test_a_secret_is_found_in_one_spelling_inside_of_another(secret: str, wrappings: list[str]) -> None:
    spelling = secret
    for name in wrappings:
        spelling = WRAPPINGS[name](spelling)
    shown = Redactor([secret])(f"before {spelling} after")
    assert secret not in shown
    assert HIDDEN in shown
    left = [part for part in shown.split(HIDDEN) if part not in {"before ", " after"}]
    assert secret.strip("\"'") not in "".join(left)


@given(
    secrets, st.tuples(st.binary(max_size=4), st.binary(max_size=4)), *map(st.sampled_from, ([*CORES], [*WRAPPINGS]))
)
def test_a_secret_is_found_among_other_bytes(
    secret: str, around: tuple[bytes, bytes], core: str, wrapping: str
) -> None:
    digits = CORES[core](around[0] + secret.encode() + around[1])
    shown = Redactor([secret])(WRAPPINGS[wrapping](f"Basic {digits}, thus"))
    assert HIDDEN in shown
    assert digits not in shown
    for part in shown.split(HIDDEN):
        try:
            assert secret.encode() not in DECODERS[core](part.strip() + "=" * (-len(part.strip()) % 4))
        except ValueError:
            continue


@given(secrets, st.integers(0, 80), st.sampled_from(["as it is", "in lower case", "in HTML, by numbers"]))
def test_a_secret_at_the_bound_is_hidden_and_not_cut(secret: str, at: int, wrapping: str) -> None:
    assume(not set("*.") & set(secret))
    redact, spelling = Redactor([secret]), WRAPPINGS[wrapping](secret)
    shown = redact("." * at + spelling + "." * 10_000, 80)
    assert len(shown) <= 80
    assert set(shown) <= {".", "*"}
    end = redact.end("." * 10_000 + spelling + "." * at, 80)
    assert len(end) <= 80
    assert set(end) <= {".", "*"}


@pytest.mark.parametrize("unseen", ["\x1b[0m", "\u200b" * 3_000, "\x00" * 9, "\x9b" + "1" * 2_500 + "m"])
@pytest.mark.parametrize("before", [0, 60, 75, 79])
def test_nothing_invisible_helps_a_part_of_a_secret_over_the_bound(unseen: str, before: int) -> None:
    secret = "0123456789abcdef" * 2
    redact = Redactor([secret])
    assert secret not in redact("." * before + secret[:16] + unseen + secret[16:] + "." * 5_000, 80)
    assert secret[:9] not in redact(unseen + "." * before + secret + "." * 5_000, 80)
    assert secret[-9:] not in redact.end("." * 5_000 + secret + unseen + "." * before, 80)


def test_what_is_cut_off_unseen_leaves_no_part_of_a_secret() -> None:
    secret = "0123456789abcdef"
    redact = Redactor([secret])
    invisible = "\u200b" * (80 + redact.reach - 8)
    assert "01234567" not in redact(invisible + secret + "." * 5_000, 80)
    assert "89abcdef" not in redact.end("." * 5_000 + secret + invisible, 80)


def test_an_output_that_comes_in_parts_is_redacted_as_a_whole() -> None:
    secret = "0123456789abcdef"
    tail = Tail(1_000, Redactor([secret]))
    for number in range(3_000):
        for letter in f"{number} {secret}\n":
            tail.append(letter)
    assert len(tail.text()) <= 1_000
    assert tail.text().endswith(f"2999 {HIDDEN}\n")
    assert "0123" not in tail.text()
    assert "cdef" not in tail.text()


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (["listed-1", ("listed-2",)], "listed-1 and listed-2"),
        ({"user": "listed-1", "password": "listed-2"}, "listed-1 and listed-2"),
        (b"by\xc3\xbctes", "byütes"),
        ("  with blanks  around ", "with blanks around"),
        (
            "-----BEGIN KEY-----\nMIIEvgIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----",
            "MIIEvgIBADANBg then kqhkiG9w0BAQEF",
        ),
        ("postgres://me:p%40ss-word@db/name", "p@ss-word or p%40ss-word"),
        (47110815, "47110815"),
        ("it's", shlex.quote("it's")),
        ("naïve-secret", base64.b64encode("me:naïve-secret".encode("latin-1")).decode()),
    ],
)
def test_every_part_of_a_secret_is_one(secret: object, text: str) -> None:
    shown = Redactor([secret])(text)
    assert HIDDEN in shown
    for part in ("listed", "tes", "with blanks", "MIIE", "kqhk", "ss-word", "4711", "it", "bmHv", "YcOv"):
        assert part not in shown


def test_what_is_no_text_of_a_secret_stays() -> None:
    redact = Redactor(["", None, False, True, "ab", "hunter2-s3cret"])
    for text in ("True or False or None", "abba", "hunter2 is not all of it", "100% & more \\ to come; C:\\new"):
        assert redact(text) == text
    assert redact("a/ab.c") == f"a/{HIDDEN}.c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("found 'https://hooks.example/T01/B', allowed", "found '********', allowed"),
        ("b'https://hooks.example/T01/B02'...", "b'********'..."),
        ("https://hooks.example/T01…", "********…"),
        ("https://hooks.example is up", "https://hooks.example is up"),
    ],
)
def test_a_secret_that_somebody_else_has_cut_is_hidden_where_most_of_it_is_left(text: str, shown: str) -> None:
    assert Redactor(["https://hooks.example/T01/B02/c4n4ry-0123"])(text) == shown


def test_fifty_secrets_are_found_in_one_text() -> None:
    secrets = [f"canary-{number:02}-{number * 7919:x}" for number in range(50)]
    redact = Redactor(secrets)
    text = " ".join(wrap(secret) for secret in secrets for wrap in WRAPPINGS.values())
    shown = redact(text)
    assert [secret for secret in secrets if secret in shown or f"{int(secret.split('-')[-1], 16):x}" in shown] == []


def test_the_margin_is_longer_than_any_spelling() -> None:
    secret = "😀" * 300
    widest = "".join(f"%{byte:02X}" for byte in secret.encode())
    assert len(widest) < Redactor([secret]).reach
    assert Redactor(["short"]).reach >= MARGIN
    assert "%F0" not in Redactor([secret])("." * 79 + widest + "." * 100_000, 80)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1mhunter2-s3cret\x1b[0m", f"\x1b[1m{HIDDEN}\x1b[0m"),
        ("hunter2\x1b[1m-s3cret", HIDDEN),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("hunter2\u200b-s3cret \ud83d", f"{HIDDEN} \ufffd"),
    ],
)
def test_colours_stay_where_they_are_wanted_and_split_no_secret(written: str, shown: str) -> None:
    assert Redactor(["hunter2-s3cret"]).within(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        *(CANARY.encode().hex(between) for between in " :-"),
        CANARY.encode().hex(":").upper(),
        base64.b32encode(CANARY.encode()).decode(),
        base64.b64encode(base64.b64encode(CANARY.encode())).decode(),
        CANARY.lower(),
        CANARY.upper(),
    ],
)
def test_dumps_of_bytes_and_texts_in_other_letters_hide_no_secret(written: str) -> None:
    shown = Redactor([CANARY])(f"before {written} after")
    assert written[:-4] not in shown
    assert shown.startswith(f"before {HIDDEN}")
    assert shown.endswith(" after")


LONG = "c4n4ry/with+odd & ü\\<%7e> and_a_rather=long-tail-0123456789abcdefghijklmnopqrstuvwxyz"
LINES: dict[str, Callable[[str], str]] = {
    "base64 in lines": lambda text: base64.encodebytes(f"user: {text}".encode()).decode(),
    "base64 in lines, in bytes": lambda text: repr(base64.encodebytes(f"x: {text}".encode())),
    "base64 of a mail": lambda text: "\r\n ".join(textwrap.wrap(base64.b64encode(text.encode()).decode(), 20)),
    "quoted-printable": lambda text: quopri.encodestring(f"password is {text}, and so on".encode()).decode(),
    "quoted-printable in JSON": lambda text: json.dumps(quopri.encodestring(text.encode()).decode()),
    "wrapped": lambda text: textwrap.fill(f"the server said: {text} is no key", 30, subsequent_indent="    "),
    "wrapped, in JSON": lambda text: json.dumps(textwrap.fill(f"it is {text}", 24)),
    "printed prettily": lambda text: pprint.pformat({"key": "x " * 10 + text}, width=40),
    "bytes printed prettily": lambda text: pprint.pformat({"key": b"x" * 20 + text.encode()}, width=40),
    "hex in lines": lambda text: "\n".join(textwrap.wrap(text.encode().hex(), 32)),
    "hex of an openssl": lambda text: "\n    ".join(textwrap.wrap(text.encode().hex(":"), 45)),
    "continued in a shell": lambda text: "\\\n".join(textwrap.wrap(text, 20, drop_whitespace=False)),
    "in groups in lines": lambda text: " ".join(textwrap.wrap(text.encode().hex(), 4)) + "\n",
    "base85": lambda text: base64.b85encode(text.encode()).decode(),
    "ascii85": lambda text: base64.a85encode(text.encode()).decode(),
}


@pytest.mark.parametrize("secret", [LONG, "sk_live_4eC39HqLyjWDarjtT1zdp7dcABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"])
@pytest.mark.parametrize("name", LINES)
def test_a_secret_that_is_broken_into_lines_is_hidden_as_a_whole(name: str, secret: str) -> None:
    written = LINES[name](secret)
    shown = Redactor([secret])(f"before\n{written}\nafter")
    assert HIDDEN in shown
    assert shown.startswith("before\n")
    assert shown.endswith("after")
    left = "".join(shown.split())
    for start in range(len(secret) - 12):
        assert secret[start : start + 12].replace(" ", "") not in left
    pieces = [piece for piece in written.split() if len(piece) > 12]
    assert [piece for piece in pieces[1:-1] if piece in shown] == []


def test_lines_that_only_look_like_a_secret_stay() -> None:
    redact = Redactor(["ab12", "hunter2-s3cret"])
    text = "ab\n12 and hunter2\n  then s3cret\n=C3=BC=3D\n'quoted'\n'lines'"
    assert redact(text) == text


@pytest.mark.parametrize("wrapping", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_secret_is_known_however_it_is_written(wrapping: Callable[[str], str]) -> None:
    assert Redactor([CANARY]).knows(f"before {wrapping(CANARY)} behind")


def test_what_only_looks_like_a_credential_is_no_known_secret() -> None:
    assert not Redactor([CANARY]).knows("https://bob:hunter2@example.org/?token=abc")
    assert not Redactor().knows(CANARY)
