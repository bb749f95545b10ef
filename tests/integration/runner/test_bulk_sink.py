"""A sink with a bulk API: the example of docs/order-and-batches.md, against a search index on this machine."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

import async_commander as ac
from tests.testapp.models import Author

from .ledger import row_of


class SearchIndex(BaseHTTPRequestHandler):
    """Takes `[{"id": …, "name": …}, …]`, all or nothing; a name that is too long is a 422."""

    documents: dict[str, dict[int, str]]
    requests: list[int]

    def do_POST(self) -> None:
        documents = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(len(documents))
        bad = [each for each in documents if len(each["name"]) > 20]
        if not bad:
            self.documents.setdefault(self.path, {}).update({each["id"]: each["name"] for each in documents})
        self.send_response(422 if bad else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def index() -> Any:
    class Handler(SearchIndex):
        documents, requests = {}, []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Command(ac.DownloadIterateCommand[None, Author]):
    """Put all authors into the search index, ten at a time."""

    url: str

    batches = ac.Batches(size=10, seconds=0.5)

    async def download(self) -> None:
        return None

    async def iterate(self, payload: None):
        return Author.objects.all()

    def batch_key(self, author: Author) -> str:
        return "short" if len(author.name) < 10 else "long"  # an index each

    async def parse_and_save_many(self, authors: list[Author]) -> None:
        documents = [{"id": author.pk, "name": author.name} for author in authors]
        response = await self.http.post(f"{self.url}/{self.batch_key(authors[0])}", json=documents)
        response.raise_for_status()  # 422: refused, all of them; halves are sent then


def test_documents_are_sent_many_at_once_and_the_one_that_does_not_fit_is_found(run: Any, index: Any) -> None:
    handler, url = index
    names = [
        *(f"short {n}" for n in range(24)),
        *(f"a longer name {n}" for n in range(9)),
        "a name that is far too long",
    ]
    for name in names:
        Author.objects.create(name=name)
    result = run(Command(url=url))
    assert (result.counts["done"], result.counts["dead"]) == (33, 1)
    assert {name for documents in handler.documents.values() for name in documents.values()} == set(names[:-1])
    assert max(handler.requests) == 10
    assert len(handler.requests) < 14
    row_of(result)
