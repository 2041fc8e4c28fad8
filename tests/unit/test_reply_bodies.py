"""Bodies of responses, by both transports: one content encoding at most, and never more than the request allows."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.auth.credentials import MAX_REPLY_BYTES, SMALL_REPLY_BYTES, Secret
from airflow_provider_b24cal.bitrix24.auth.tokens import Application
from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_event
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.batch import pack
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.exchange import Send, run_call, run_calls
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.contexts import context_for
from tests.portal_data import CANARY
from tests.wires import CARRIERS, GOOD, Carry, Listener, answer, settings_for

TEXT = json.dumps({"result": "Y" * 300_000}).encode()


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _chunked(body: bytes, *headers: bytes) -> bytes:
    """Return a response whose body comes byte by byte at first."""
    parts = [body[:1], body[1:2], body[2:3], body[3:]]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    head = b"\r\n".join((b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Connection: close", *headers))
    return head + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.fixture(params=CARRIERS)
def carry(request: pytest.FixtureRequest) -> Carry:
    return CARRIERS[request.param]


@pytest.fixture
def receive(carry: Carry) -> Callable[..., Reply]:
    """Send one request to a server that answers so, and return what was read."""

    def go(response: bytes, **fields: Any) -> Reply:
        with Listener(response) as listener:
            settings = settings_for(listener.url)
            return carry(settings, replace(settings.endpoint.request("profile", {}), **fields))

    return go


@pytest.mark.parametrize("whole", [answer, _chunked], ids=["at once", "in chunks"])
@pytest.mark.parametrize(
    ("encoding", "pack_body"),
    [
        (b"gzip", gzip.compress),
        (b"X-GZip", gzip.compress),
        (b"identity, gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"deflate", _raw_deflate),
        (b"identity", bytes),
        (b"", bytes),
    ],
    ids=["gzip", "x-gzip", "identity and gzip", "deflate", "raw deflate", "identity", "empty"],
)
def test_one_encoding_is_undone(encoding: bytes, pack_body: Any, whole: Any, receive: Callable[..., Reply]) -> None:
    assert receive(whole(pack_body(TEXT), b"Content-Encoding: " + encoding)) == Reply(200, TEXT)


def test_gzip_of_several_members(receive: Callable[..., Reply]) -> None:
    packed = b"".join(gzip.compress(TEXT[start : start + 10_000]) for start in range(0, len(TEXT), 10_000))
    assert receive(answer(packed, b"Content-Encoding: gzip")).body == TEXT


def test_gzip_of_very_many_members(receive: Callable[..., Reply]) -> None:
    with pytest.raises(errors.TransportError, match="cannot be decompressed"):
        receive(answer(gzip.compress(b"") * 10_000, b"Content-Encoding: gzip"))


def test_an_empty_body_needs_no_unpacking(receive: Callable[..., Reply]) -> None:
    moved = answer(b"", b"Content-Encoding: gzip", b"Location: https://other.invalid/", status=b"302 Found")
    assert receive(moved) == Reply(302, b"", "https://other.invalid")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzip.compress(TEXT)[:-9]),
        (b"gzip", gzip.compress(TEXT)[:-1]),
        (b"gzip", gzip.compress(TEXT)[:1]),
        (b"gzip", gzip.compress(TEXT) + b"what is this"),
        (b"gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
        (b"gzip", TEXT),
        (b"deflate", zlib.compress(TEXT)[:-1]),
        (b"deflate", _raw_deflate(TEXT)[:-1]),
    ],
    ids=["cut", "cut by one", "one byte", "more behind it", "wrong sum", "not packed", "deflate cut", "raw cut"],
)
def test_what_cannot_be_unpacked(encoding: bytes, body: bytes, receive: Callable[..., Reply]) -> None:
    with pytest.raises(errors.TransportError, match="cut or damaged") as caught:
        receive(answer(body, b"Content-Encoding: " + encoding))
    assert caught.value.permanence == "ambiguous"
    assert caught.value.cause
    assert caught.value.__context__ is None


def _bomb(layers: int) -> bytes:
    """Return what unpacks to 200 MB by one layer, and to the packed form of that by two."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    return packed if layers == 1 else gzip.compress(packed, 9)


@pytest.mark.parametrize("limit", [SMALL_REPLY_BYTES, 8 * SMALL_REPLY_BYTES])
def test_a_bomb_is_unpacked_up_to_the_limit(limit: int, receive: Callable[..., Reply]) -> None:
    response = answer(_bomb(1), b"Content-Encoding: gzip")
    tracemalloc.start()
    try:
        with pytest.raises(errors.TransportError, match=f"more than {limit} bytes") as caught:
            receive(response, max_reply_bytes=limit)
        assert tracemalloc.get_traced_memory()[1] < 4 * limit + 4_000_000
    finally:
        tracemalloc.stop()
    assert (caught.value.permanence, caught.value.attempts, caught.value.method) == ("ambiguous", 2, "profile")
    assert caught.value.__context__ is None


UNSUPPORTED = {
    "two layers": (b"Content-Encoding: gzip, gzip",),
    "two headers": (b"Content-Encoding: gzip", b"Content-Encoding: gzip"),
    "other case": (b"Content-Encoding: GZIP,gzip",),
    "two kinds": (b"Content-Encoding: deflate, gzip",),
    "another kind": (b"Content-Encoding: br",),
}


@pytest.mark.parametrize("headers", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_other_encodings_are_not_undone(headers: tuple[bytes, ...], receive: Callable[..., Reply]) -> None:
    bomb = _bomb(2)
    tracemalloc.start()
    try:
        reply = receive(answer(bomb, *headers))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert reply.body == bomb
    assert reply.packed_as is not None
    assert reply.packed_as.lower().startswith(("gzip", "deflate", "br"))


@pytest.mark.parametrize(
    ("status", "permanence"), [(b"200 OK", "permanent"), (b"503 Service Unavailable", "transient")]
)
@pytest.mark.parametrize("blocking", [True, False])
def test_a_status_in_two_encodings(
    status: bytes, permanence: str, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the encoding; the HTTP status counts as of any answer that is no JSON."""
    with Listener(answer(_bomb(2), b"Content-Encoding: gzip, gzip", status=status)) as listener:
        monkeypatch.setenv("AIRFLOW_CONN_ANY", _connection(listener))
        with pytest.raises(errors.Bitrix24Error) as caught:
            _status(blocking)
    assert "Its Content-Encoding 'gzip, gzip' is not supported: expected gzip, deflate, or none." in str(caught.value)
    assert isinstance(caught.value, errors.NotJsonError)


def _connection(listener: Listener) -> str:
    return json.dumps({"conn_type": "bitrix24", "host": listener.url, "login": "1", "password": CANARY})


def _status(blocking: bool) -> MeetingStatus:
    hook = Bitrix24CalendarHook("any", retry=RetryPolicy(attempts=1))
    if blocking:
        with hook:
            return hook.get_meeting_status(101)

    async def go() -> MeetingStatus:
        try:
            return await hook.aget_meeting_status(101)
        finally:
            await hook.aclose()

    return asyncio.run(go())


@pytest.mark.parametrize("packed", [False, True])
def test_exactly_the_limit_is_read(packed: bool, receive: Callable[..., Reply]) -> None:
    def response(size: int) -> bytes:
        body = b" " * size
        return answer(gzip.compress(body), b"Content-Encoding: gzip") if packed else answer(body)

    assert len(receive(response(100_000), max_reply_bytes=100_000).body) == 100_000
    with pytest.raises(errors.TransportError, match="more than 100000 bytes"):
        receive(response(100_001), max_reply_bytes=100_000)


@pytest.mark.parametrize("broken", ["gzip", "size"])
def test_what_cannot_be_read_keeps_no_connection(broken: str) -> None:
    """There is one connection; were it lost, the second request would wait for it without end."""
    body = b"x" * 300_000
    bad = answer(body, b"Content-Encoding: gzip") if broken == "gzip" else answer(body)
    ends: list[str] = []
    with Listener(bad, bad, GOOD) as listener:
        settings = settings_for(listener.url, timeout=5, max_in_flight=1)
        transport = RequestsTransport(settings)
        request = replace(settings.endpoint.request("profile", {}), max_reply_bytes=200_000)

        def go() -> None:
            for _ in range(3):
                try:
                    ends.append(str(transport.send(request).http_status))
                except errors.TransportError as error:
                    ends.append(error.message)

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        thread.join(10)
        transport.close()
    wanted = "cut or damaged" if broken == "gzip" else "more than 200000 bytes"
    assert [wanted in end for end in ends] == [True, True, False]
    assert ends[-1] == "200"


SHORT = [methods.get_status(1), methods.set_status(1, MeetingStatus.ACCEPTED), methods.profile(), methods.scope()]
LONG = [get_event(1), methods.raw("any.list", {}, writes=False)]


@pytest.mark.parametrize(
    ("calls", "limit"),
    [
        *(([call], SMALL_REPLY_BYTES) for call in SHORT),
        *(([call], MAX_REPLY_BYTES) for call in LONG),
        (50 * [methods.get_status(1)], SMALL_REPLY_BYTES),
        (SHORT, SMALL_REPLY_BYTES),
        ([*SHORT, LONG[0]], MAX_REPLY_BYTES),
    ],
)
def test_what_is_read_at_most_of_each_call(calls: list[Call[Any]], limit: int) -> None:
    endpoint = settings_for("https://example.bitrix24.com").endpoint
    terms = context_for(endpoint)
    steps: Any = run_call(calls[0], terms) if len(calls) == 1 else run_calls(calls, terms)
    step = next(steps)
    assert isinstance(step, Send)
    assert step.request.max_reply_bytes == limit
    assert len(calls) == 1 or pack(calls, "c").max_reply_bytes == limit


def test_tokens_are_short() -> None:
    application = Application("local.1", Secret("key"), None, "https://oauth.bitrix.info")
    assert application.exchange("code").max_reply_bytes == SMALL_REPLY_BYTES
