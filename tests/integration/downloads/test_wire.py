"""What goes over the wire: the bytes of requests, answers that are odd, and connections that are used again."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from async_commander.downloads.errors import BodyTooSlow, DownloadTimeout, HeadersTooLarge, is_transient

from .scripted import Peer, ScriptedServer, answer

if TYPE_CHECKING:
    from .conftest import OpenClient

pytestmark = pytest.mark.asyncio

Answers = Callable[[bytes], list[bytes]]


def answering(give: Answers) -> Callable[[Peer], object]:
    """Keep connections open, and answer each request with these parts."""

    async def talk(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            await peer.send(*give(head))

    return talk


def path_of(head: bytes) -> bytes:
    return head.split(b" ")[1]


SIGNED = "/a%2Fb/%27x%27%28y%29/%7Euser%3A1?X-Amz-Signature=a%2Bb%3D&d=2026%2D01%3A%28%29&e=%7E"


async def test_a_signed_url_goes_out_as_it_was_written_directly_and_after_a_redirect(small_client: OpenClient) -> None:
    def give(head: bytes) -> list[bytes]:
        if path_of(head) == b"/to":
            return [answer(b"", b"Location: " + SIGNED.encode(), status=b"302 Found")]
        return [answer(b"ok")]

    async with ScriptedServer(answering(give)) as server, small_client() as client:
        await client.get(server.url(SIGNED))
        await client.get(server.url("/to"))
        await client.fetch(server.url(SIGNED))
        await client.fetch(server.url("/to"))
    assert [path_of(head).decode() for head, _ in server.requests] == [SIGNED, "/to", SIGNED, SIGNED, "/to", SIGNED]


async def test_names_of_headers_go_out_as_they_were_written(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client() as client:
        await client.get(server.url(), headers={"X-CamelCase-ID": "1", "SOAPAction": "x", "user-agent": "Mine"})
    head = server.requests[0][0]
    for line in (b"X-CamelCase-ID: 1\r\n", b"SOAPAction: x\r\n", b"user-agent: Mine\r\n"):
        assert line in head


@pytest.mark.parametrize("reason", ["Très bien".encode("latin-1"), "Ünïcode".encode(), b"", b"\xff\xfe", b"a  b"])
async def test_any_reason_phrase_is_read(small_client: OpenClient, reason: bytes) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"ok", status=b"200 " + reason)])) as server:
        async with small_client() as client:
            response = await client.get(server.url())
    assert response.text == "ok"
    assert response.extensions["reason_phrase"] == reason.strip()
    assert isinstance(response.reason_phrase, str)


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Big: " + b"v" * 60_000 + b"\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\nsurplus", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nsurplus", 304, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (99 * b"HTTP/1.1 102 Processing\r\n\r\n" + b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 599 \r\nContent-Length: 2\r\n\r\nok", 599, b"ok"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_what_is_harmless_is_read(
    small_client: OpenClient, sent: bytes, status: int, body: bytes, step: int
) -> None:
    parts = [sent[at : at + step] for at in range(0, len(sent), step)] if len(sent) < 1000 else [sent]
    async with ScriptedServer(answering(lambda _: parts)) as server, small_client() as client:
        for _ in range(2):
            response = await client.get(server.url())
            assert (response.status_code, response.content) == (status, body)
            small = await client.fetch(server.url())
            assert (small.status, small.content) == (status, body)


async def test_a_body_behind_a_head_request_costs_the_connection_only(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"not asked for")])) as server, small_client() as client:
        for _ in range(3):
            response = await client.head(server.url())
            assert (response.status_code, response.content) == (200, b"")
            assert (await client.get(server.url())).text == "not asked for"


@pytest.mark.parametrize(
    "sent",
    [
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    ],
)
async def test_what_is_ambiguous_or_no_http_is_refused(small_client: OpenClient, sent: bytes) -> None:
    async with ScriptedServer(answering(lambda _: [sent])) as server, small_client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url())


@pytest.mark.parametrize(
    "sent",
    [
        101 * b"HTTP/1.1 102 Processing\r\n\r\n" + answer(b"ok"),
        99 * (b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 900 + b"\r\n\r\n") + answer(b"ok"),
        b"HTTP/1.1 103 Early Hints\r\n" + b"a:\r\n" * 5000 + b"\r\n" + answer(b"ok"),
        answer(b"ok", *([b"a:"] * 300)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:\r\n" * 300 + b"\r\n",
    ],
)
async def test_interim_answers_and_trailers_are_bounded_as_the_head_is(small_client: OpenClient, sent: bytes) -> None:
    async with ScriptedServer(answering(lambda _: [sent])) as server, small_client() as client:
        with pytest.raises(HeadersTooLarge):
            await client.get(server.url())
        with pytest.raises(HeadersTooLarge):
            await client.fetch(server.url())


# --- connections that are used again


async def test_what_a_server_sends_unasked_is_nobodys_answer(small_client: OpenClient) -> None:
    """A second answer, sent a little after the first: the next request must not take it for its own."""

    async def talk(peer: Peer) -> None:
        while True:
            path = path_of((await peer.request())[0])
            await peer.send(answer(path))
            await asyncio.sleep(0.001)
            await peer.send(answer(b"stray after " + path))

    async with ScriptedServer(talk) as server, small_client() as client:
        for number in range(50):
            assert (await client.get(server.url(f"/{number}"))).text == f"/{number}"
            await asyncio.sleep(0.003)
    assert server.connections == 50


async def test_a_second_answer_in_the_same_breath_costs_the_connection(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda head: [answer(path_of(head)) + answer(b"stray")])) as server:
        async with small_client() as client:
            for number in range(20):
                assert (await client.get(server.url(f"/{number}"))).text == f"/{number}"
    assert server.connections == 20


async def test_bytes_that_are_still_in_the_kernel_are_seen_before_a_connection_is_used(
    small_client: OpenClient,
) -> None:
    spoken = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"first"))
        await spoken.wait()
        peer.writer.write(answer(b"stray"))  # goes out at once, and the client's loop has not run since
        await peer.hang()

    async with ScriptedServer(talk) as server, small_client() as client:
        assert (await client.get(server.url())).text == "first"
        spoken.set()
        await asyncio.sleep(0)
        assert (await client.get(server.url())).text == "first"
    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_a_request_that_met_a_closing_connection_is_sent_again(small_client: OpenClient, method: str) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"" if method == "HEAD" else b"ok"))
        if server.connections == 1:
            await peer.reader.readuntil(b"\r\n\r\n")  # takes the next request, and closes without an answer
        else:
            await peer.hang()

    async with ScriptedServer(talk) as server, small_client() as client:
        for _ in range(2):
            assert (await client.request(method, server.url())).status_code == 200
    assert server.connections == 2


async def test_a_request_that_may_not_be_sent_twice_is_not(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"ok"))
        await peer.request()

    async with ScriptedServer(talk) as server, small_client() as client:
        await client.get(server.url())
        await asyncio.sleep(0.06)
        with pytest.raises(httpx.TransportError) as caught:
            await client.post(server.url(), content=b"order")
    assert is_transient(caught.value)
    assert server.connections == 1


async def test_a_request_is_sent_again_once_and_only_on_a_connection_that_was_idle(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()

    async with ScriptedServer(talk) as server, small_client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url())
    assert server.connections == 1


async def test_a_server_that_closes_after_each_answer_without_a_word_costs_no_post(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"ok"))

    async with ScriptedServer(talk) as server, small_client(deadline=60.0) as client:
        left = iter(range(1500))
        errors: list[Exception] = []

        async def post() -> None:
            for number in left:
                try:
                    assert (await client.post(server.url(), content=b"%d" % number)).text == "ok"
                except httpx.TransportError as error:
                    errors.append(error)

        await asyncio.gather(*(post() for _ in range(10)))
    assert len(errors) <= 2
    assert len(server.requests) == 1500


async def test_posts_use_connections_again_where_the_server_keeps_them(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client() as client:
        await client.post(server.url(), content=b"1")
        await asyncio.sleep(0.06)
        for _ in range(20):
            await client.post(server.url(), content=b"2")
    assert server.connections == 1


async def test_old_connections_are_not_used_again(small_client: OpenClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_commander.downloads.pool.IDLE_SECONDS", 0.05)
    closed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"ok"))
        await peer.hang()
        closed.set()

    async with ScriptedServer(talk) as server, small_client() as client:
        await client.get(server.url())
        await asyncio.wait_for(closed.wait(), 60)  # swept away, without another request


async def test_connection_close_is_obeyed_on_both_sides(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"ok", b"Connection: close")])) as server:
        async with small_client() as client:
            await client.get(server.url())
            await client.get(server.url())
    assert server.connections == 2
    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client() as client:
        await client.get(server.url(), headers={"Connection": "close"})
        await client.get(server.url())
    assert server.connections == 2


# --- uploads


async def test_a_body_of_any_size_and_kind_is_sent(small_client: OpenClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"" if number == 20 else b"%05d" % number * 1000
            await asyncio.sleep(0)

    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client() as client:
        await client.put(server.url(), content=b"x" * 3_000_000)
        await client.post(server.url(), content=pieces())
        await client.post(server.url(), content=pieces(), headers={"Content-Length": "245000"})
        await client.post(server.url())
    streamed = b"".join(b"%05d" % number * 1000 for number in range(50) if number != 20)
    assert [body for _, body in server.requests] == [b"x" * 3_000_000, streamed, streamed, b""]
    assert b"content-length: 0" in server.requests[-1][0].lower()


async def test_a_server_that_refuses_early_is_heard(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer(b"too much", status=b"413 Content Too Large"))
        await asyncio.sleep(0.2)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0.001)

    async with ScriptedServer(talk) as server, small_client() as client:
        response = await client.post(server.url(), content=endless())
    assert (response.status_code, response.text) == (413, "too much")


async def test_an_upload_that_fails_closes_its_connection(small_client: OpenClient) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("no more")

    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client(threads=1) as client:
        with pytest.raises(ValueError, match="no more"):
            await client.post(server.url(), content=broken())
        assert (await client.get(server.url())).text == "ok"


async def test_what_http_cannot_say_is_the_callers_error(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda _: [answer(b"ok")])) as server, small_client(threads=1) as client:
        with pytest.raises(httpx.LocalProtocolError):
            await client.get(server.url(), headers={"X-Evil": "a\r\nb: c"})
        with pytest.raises(httpx.LocalProtocolError):
            await client.post(server.url(), content=b"abc", headers={"Content-Length": "2"})
        assert (await client.get(server.url())).text == "ok"
    assert len(server.requests) <= 2


# --- authentication


async def test_a_token_that_is_fetched_from_another_host_arrives_there_with_its_credentials(
    small_client: OpenClient,
) -> None:
    class Refreshing(httpx.Auth):
        requires_response_body = True

        def auth_flow(self, request: httpx.Request):  # type: ignore[no-untyped-def]
            response = yield request
            if response.status_code == 401:
                credentials = {"Authorization": "Basic x", "X-Client-Secret": "s"}
                token = yield httpx.Request("POST", tokens.url("/token"), headers=credentials, content=b"grant")
                request.headers["Authorization"] = f"Bearer {token.text}"
                yield request

    def pages_give(head: bytes) -> list[bytes]:
        return [answer(b"page") if b"Bearer fresh" in head else answer(b"", status=b"401 Unauthorized")]

    async with ScriptedServer(answering(lambda _: [answer(b"fresh")])) as tokens, small_client() as client:
        async with ScriptedServer(answering(pages_give)) as pages:
            response = await client.get(pages.url(), auth=Refreshing())
            assert (response.text, len(response.history)) == ("page", 2)
            async with client.stream("GET", pages.url(), auth=Refreshing()) as stream:
                assert await stream.aread() == b"page"
    head, body = tokens.requests[0]
    assert b"Authorization: Basic x" in head
    assert b"X-Client-Secret: s" in head
    assert body == b"grant"


async def test_the_other_kinds_of_authentication_work_as_in_httpx(small_client: OpenClient) -> None:
    def give(head: bytes) -> list[bytes]:
        if b"/digest" in path_of(head) and b"Digest username" not in head:
            return [answer(b"", b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status=b"401 No")]
        return [answer(b"ok")]

    def stamped(request: httpx.Request) -> httpx.Request:
        request.headers["X-Stamp"] = "1"
        return request

    async with ScriptedServer(answering(give)) as server, small_client() as client:
        assert (await client.get(server.url("/digest"), auth=httpx.DigestAuth("u", "p"))).text == "ok"
        await client.get(server.url(), auth=("u", "p"))
        await client.get(server.url(), auth=stamped)
        await client.get(server.url().replace("//", "//u:p@"))
        await client.fetch(server.url().replace("//", "//u:p@"))
        client.auth = ("u", "p")
        await client.get(server.url())
        await client.get(server.url(), auth=None)
    heads = [head for head, _ in server.requests]
    basic = b"Authorization: Basic " + base64.b64encode(b"u:p")
    assert [basic in head for head in heads] == [False, False, True, False, True, True, True, False]
    assert b"X-Stamp: 1" in heads[3]


async def test_hooks_see_each_request_and_response(small_client: OpenClient) -> None:
    seen: list[object] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(request.url.path)

    async def on_response(response: httpx.Response) -> None:
        seen.append(response.status_code)

    def give(head: bytes) -> list[bytes]:
        moved = answer(b"", b"Location: /b", status=b"302 Found")
        return [moved if path_of(head) == b"/a" else answer(b"ok")]

    async with ScriptedServer(answering(give)) as server, small_client() as client:
        client.event_hooks = {"request": [on_request], "response": [on_response]}
        await client.get(server.url("/a"))
        await client.fetch(server.url("/a"))
    assert seen == ["/a", 302, "/b", 200] * 2


async def test_a_redirect_that_is_not_followed_says_where_it_leads(small_client: OpenClient) -> None:
    give: Answers = lambda _: [answer(b"", b"Location: /b", status=b"302 Found")]  # noqa: E731
    async with ScriptedServer(answering(give)) as server, small_client() as client:
        response = await client.get(server.url("/a"), follow_redirects=False)
        assert response.status_code == 302
        assert response.next_request is not None
        assert response.next_request.url.path == "/b"


# --- no circle, no hostage


async def test_requests_inside_open_streams_do_not_wait_for_themselves(small_client: OpenClient) -> None:
    async with ScriptedServer(answering(lambda head: [answer(path_of(head) * 100)])) as server:
        async with small_client(threads=3) as client:

            async def item(number: int) -> None:
                async with client.stream("GET", server.url(f"/{number}")) as outer:
                    async with client.stream("GET", server.url("/inner")) as inner:
                        both = await asyncio.gather(client.get(server.url("/x")), client.fetch(server.url("/y")))
                        assert [one.text for one in both] == ["/x" * 100, "/y" * 100]
                        await inner.aread()
                    await outer.aread()

            await asyncio.wait_for(asyncio.gather(*(item(number) for number in range(12))), 60)


async def test_no_more_requests_than_threads_are_on_their_way(small_client: OpenClient) -> None:
    busy = most = 0

    async def talk(peer: Peer) -> None:
        nonlocal busy, most
        while True:
            await peer.request()
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.005)
            busy -= 1
            await peer.send(answer(b"ok"))

    async with ScriptedServer(talk) as server, small_client(threads=3) as client:
        await asyncio.gather(*(client.get(server.url()) for _ in range(30)))
        hasty = httpx.Timeout(5.0, pool=0.001)
        requests = (client.get(server.url(), timeout=hasty) for _ in range(6))
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert most == 3
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["PoolTimeout"] * 3 + ["Response"] * 3


async def test_drips_give_their_memory_to_the_honest(small_client: OpenClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_commander.downloads.limits.PATIENCE", 0.3)

    async def talk(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            if path_of(head) == b"/drip":
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_000_000)
                while True:
                    await peer.send(b"x")
                    await asyncio.sleep(0.01)
            await peer.send(answer(b"y" * 500_000))

    async with ScriptedServer(talk) as server:
        async with small_client(threads=20, body_memory=1_000_000, deadline=20.0) as client:
            drips = [asyncio.create_task(client.get(server.url("/drip"))) for _ in range(5)]
            await asyncio.sleep(0.2)
            async with asyncio.timeout(8):
                honest = await asyncio.gather(*(client.get(server.url("/honest")) for _ in range(10)))
            for drip in drips:
                drip.cancel()
            outcomes = await asyncio.gather(*drips, return_exceptions=True)
    assert {len(response.content) for response in honest} == {500_000}
    assert any(isinstance(outcome, BodyTooSlow) for outcome in outcomes)
    assert all(is_transient(outcome) for outcome in outcomes if isinstance(outcome, BodyTooSlow))


async def test_the_deadline_runs_while_a_body_waits_for_memory(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n")
        for _ in range(200):  # fast enough to be no drip
            await peer.send(b"x" * 2000)
            await asyncio.sleep(0.02)

    async with ScriptedServer(talk) as server, small_client(body_memory=1, deadline=1.0) as client:
        started = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(client.get(server.url()) for _ in range(5)), return_exceptions=True)
        assert asyncio.get_running_loop().time() - started < 2.5
    assert {type(outcome) for outcome in outcomes} == {DownloadTimeout}


async def test_each_wait_can_have_a_bound_of_its_own(small_client: OpenClient) -> None:
    async def talk(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /body"):
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
        await asyncio.sleep(30)

    async with ScriptedServer(talk) as server, small_client() as client:
        for path in ("/head", "/body"):
            with pytest.raises(httpx.ReadTimeout):
                await client.get(server.url(path), timeout=0.1)
        with pytest.raises(httpx.WriteTimeout):
            await client.post(server.url("/"), content=b"x" * 50_000_000, timeout=httpx.Timeout(5.0, write=0.1))


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "ftp://a.test/", "http://127.1/"])
async def test_errors_of_the_quick_way_name_their_request(small_client: OpenClient, url: str) -> None:
    async with small_client() as client:
        for get in (client.get, client.fetch):
            with pytest.raises(httpx.RequestError) as caught:
                await get(url)
            assert str(caught.value.request.url) == url


async def test_a_closed_client_says_so(small_client: OpenClient) -> None:
    async with small_client() as client:
        pass
    for get in (client.get, client.fetch):
        with pytest.raises(RuntimeError, match="closed"):
            await get("http://127.0.0.1:9/")
