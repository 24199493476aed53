"""The source against servers that drip, lie, redirect, flood and stall: every deadline holds."""

import contextlib
import gzip
import json
import math
import os
import resource
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.access import Access
from trimtab.observe.prometheus import PrometheusSource, Refused, Sample, Span
from trimtab.observe.transport import MAX_BODY_BYTES

TIMEOUT_S = 1.0
SLACK_S = 1.0


@dataclass
class Server:
    """A TCP server that does to each connection what `behave` says, after the request is read."""

    behave: Callable[[socket.socket], None]
    requests: list[bytes] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.requests.append(connection.recv(65536))
            self.behave(connection)

    def close(self) -> None:
        self.stop.set()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    servers: list[Server] = []

    def start(behave: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[[Callable[[socket.socket], None]], Server]


def source(server: Server, timeout_s: float = TIMEOUT_S) -> PrometheusSource:
    return PrometheusSource(f"http://127.0.0.1:{server.port}", timeout_s)


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def answering(
    body: object, status: str = "200 OK", *headers: str
) -> Callable[[socket.socket], None]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda connection: connection.sendall(http(raw, status, *headers))


def vector(*values: object, **more: object) -> dict[str, object]:
    result = [{"metric": {"pod": "a"}, "value": [1700000000.5, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}} | more


def fails_in_time(asked: PrometheusSource, within_s: float = TIMEOUT_S + SLACK_S) -> Unavailable:
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        asked.query("up")
    assert time.monotonic() - started < within_s
    return caught.value


def drip(data: bytes, seconds: float) -> Callable[[socket.socket], None]:
    """Send one byte every so often, for ever if need be: no single read ever times out."""

    def behave(connection: socket.socket) -> None:
        for index in range(10_000):
            connection.sendall(data[index : index + 1] or b" ")
            time.sleep(seconds)

    return behave


def test_an_answer(serve: Serve) -> None:
    server = serve(answering(vector("1.5")))
    found = source(server).query('up{pod="a&b"}')
    assert found == (Sample(labels={"pod": "a"}, value=1.5, timestamp=1700000000.5),)
    assert server.requests[0].startswith(b"GET /api/v1/query?query=up%7Bpod%3D%22a%26b%22%7D HTTP")


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1e400", "", "many", None, []])
def test_what_is_no_finite_number_is_handed_on_as_such(serve: Serve, text: object) -> None:
    (found,) = source(serve(answering(vector(text)))).query("up")
    assert not math.isfinite(found.value)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = fails_in_time(PrometheusSource(f"http://127.0.0.1:{port}", TIMEOUT_S))
    assert str(error) == f"Prometheus at 127.0.0.1:{port} does not answer: Connection refused"


def test_a_server_that_accepts_and_never_answers(serve: Serve) -> None:
    error = fails_in_time(source(serve(lambda _: time.sleep(60))))
    assert "did not answer within 1 s" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 9000, id="header"),
        pytest.param(http(b" " * 9000), id="body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 9000, id="chunk-size"
        ),
    ],
)
def test_a_drip_feed_cannot_outlast_the_deadline(serve: Serve, data: bytes) -> None:
    head = data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 17

    def behave(connection: socket.socket) -> None:
        connection.sendall(data[:head])
        drip(data[head:], 0.05)(connection)

    before = threading.active_count()
    fails_in_time(source(serve(behave)))
    deadline = time.monotonic() + 2
    while any(t.name == "prometheus-query" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread of the query lives on"
        time.sleep(0.02)
    assert threading.active_count() <= before + 2  # the server's own


def test_a_handshake_that_never_ends(serve: Serve) -> None:
    server = serve(drip(b"\x16\x03\x03\x40\x00", 0.05))
    asked = PrometheusSource(f"https://127.0.0.1:{server.port}", TIMEOUT_S)
    fails_in_time(asked)


@pytest.mark.parametrize(
    ("status", "asked"), [("429 Too Many Requests", 1), ("503 Service Unavailable", 2)]
)
def test_retry_after_is_not_obeyed(serve: Serve, status: str, asked: int) -> None:
    server = serve(answering({"status": "error"}, status, "Retry-After: 86400"))
    fails_in_time(source(server))
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(lambda connection: connection.close(), id="closed"),
        pytest.param(lambda connection: connection.sendall(http(b" " * 99)[:-9]), id="cut"),
        pytest.param(answering(b"", "502 Bad Gateway"), id="502"),
        pytest.param(answering(b"", "503 Service Unavailable"), id="503"),
        pytest.param(answering(b"", "504 Gateway Timeout"), id="504"),
    ],
)
def test_what_may_be_over_in_a_moment_is_tried_once_more(
    serve: Serve, first: Callable[[socket.socket], None]
) -> None:
    def behave(connection: socket.socket) -> None:
        (first if len(server.requests) == 1 else answering(vector("1")))(connection)

    server = serve(behave)
    assert source(server).query("up")[0].value == 1.0
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["500 Oops", "429 Too Many", "404 Not Found", "400 Bad"])
def test_what_a_second_question_would_not_change_is_asked_once(serve: Serve, status: str) -> None:
    server = serve(answering({"error": "x"}, status))
    fails_in_time(source(server))
    assert len(server.requests) == 1


def test_a_second_try_has_no_deadline_of_its_own(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        if len(server.requests) > 1:
            time.sleep(60)

    server = serve(behave)
    fails_in_time(source(server))
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(serve: Serve, status: str) -> None:
    target = serve(answering(vector("1")))
    server = serve(answering(b"", status, f"Location: http://127.0.0.1:{target.port}/api/v1/query"))
    fails_in_time(source(server))
    assert target.requests == []


def test_a_body_without_end_is_cut(serve: Serve) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200 * 2**20:
            connection.sendall(b" " * 2**20)
            sent += 2**20

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = fails_in_time(source(serve(flood), 5.0), 5.5)
    assert f"longer than {MAX_BODY_BYTES} bytes" in str(error)
    assert sent < MAX_BODY_BYTES + 32 * 2**20  # the rest sits in socket buffers
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_body_that_a_proxy_has_packed_is_unpacked(serve: Serve) -> None:
    body = gzip.compress(json.dumps(vector("1.5")).encode())
    server = serve(answering(body, "200 OK", "Content-Encoding: gzip"))
    assert source(server).query("up")[0].value == 1.5
    assert b"Accept-Encoding: identity" in server.requests[0]


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (gzip.compress(b" " * 200 * 2**20), "gzip", f"longer than {MAX_BODY_BYTES} bytes"),
        (b"\x1f\x8b" + b"0" * 100, "gzip", "no gzip"),
        (gzip.compress(json.dumps(vector("1")).encode())[:-12], "gzip", "cut short"),
        (b"x", "br", "packed as 'br'"),
    ],
    ids=["bomb", "nonsense", "short", "other"],
)
def test_a_packed_body_that_is_not_read(serve: Serve, body: bytes, encoding: str, why: str) -> None:
    server = serve(answering(body, "200 OK", f"Content-Encoding: {encoding}"))
    tracemalloc.start()
    try:
        error = fails_in_time(source(server, 10.0), 11.0)
        assert why in str(error)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_BODY_BYTES + 2**20
        # While somebody has the error, with all that its traceback holds.
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>Sign in</html>", id="html"),
        pytest.param(json.dumps(vector("1")).encode()[:-9], id="truncated"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param({"status": "error", "error": "boom"}, id="error under 200"),
        pytest.param({"status": "success", "data": {"result": [{"metric": {}}]}}, id="no value"),
        pytest.param({"status": "success", "data": {"result": 7}}, id="no list"),
        pytest.param(
            {"status": "success", "data": {"result": [{"metric": {"a": []}, "value": [1, "2"]}]}},
            id="no label",
        ),
        pytest.param(
            {"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}, id="scalar"
        ),
    ],
)
def test_nonsense_under_200(serve: Serve, body: object) -> None:
    fails_in_time(source(serve(answering(body))))


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity"])
def test_a_query_that_prometheus_refuses_says_why(serve: Serve, status: str) -> None:
    body = {"status": "error", "errorType": "execution", "error": "found duplicate series"}
    error = fails_in_time(source(serve(answering(body, status))))
    assert isinstance(error, Refused)
    assert "found duplicate series" in str(error)


@pytest.mark.parametrize("status", ["500 Oops", "401 Unauthorized", "404 Not Found"])
def test_other_errors_are_the_server_s(serve: Serve, status: str) -> None:
    error = fails_in_time(source(serve(answering({"error": "x"}, status))))
    assert not isinstance(error, Refused)
    assert status[:3] in str(error)


def test_a_warning_makes_the_answer_incomplete(serve: Serve) -> None:
    body = vector("1", warnings=["store eu-1 is unreachable"])
    error = fails_in_time(source(serve(answering(body))))
    assert isinstance(error, Refused)
    assert "store eu-1 is unreachable" in str(error)


def test_a_label_that_is_called_warnings_is_none(serve: Serve) -> None:
    body = vector("1", note={"warnings": 3}, warnings=[])
    assert len(source(serve(answering(body))).query("up")) == 1


def test_proxies_and_credentials_of_the_environment_are_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    proxy, server = serve(answering(vector("1"))), serve(answering(vector("1")))
    netrc = os.path.join(str(tmp_path), "netrc")
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login me password secret\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NETRC", netrc)
    source(server).query("up")
    assert proxy.requests == []
    assert b"Authorization" not in server.requests[0]


def test_a_token_and_a_tenant_are_sent(serve: Serve, tmp_path: Path) -> None:
    server = serve(answering(vector("1")))
    (tmp_path / "token").write_text("let-me-in\n")
    access = Access(folder=tmp_path, extra=(("X-Scope-OrgID", "team-a"),))
    PrometheusSource(f"http://127.0.0.1:{server.port}", TIMEOUT_S, access).query("up")
    assert b"Authorization: Bearer let-me-in\r\n" in server.requests[0]
    assert b"X-Scope-OrgID: team-a\r\n" in server.requests[0]


def test_an_access_that_is_not_there_is_no_answer_and_sends_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(answering(vector("1")))
    access = Access(folder=tmp_path / "gone")
    with pytest.raises(Unavailable, match="is not there"):
        PrometheusSource(f"http://127.0.0.1:{server.port}", TIMEOUT_S, access).query("up")
    assert server.requests == []


def test_credentials_in_the_url_stay_out_of_messages() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    asked = PrometheusSource(f"http://me:secret@127.0.0.1:{port}", TIMEOUT_S)
    assert "secret" not in str(fails_in_time(asked))


@pytest.mark.parametrize("url", ["prometheus:9090", "file:///etc/passwd", "http://", ""])
def test_what_is_no_http_url(url: str) -> None:
    with pytest.raises(InvalidInput, match="is no HTTP URL"):
        PrometheusSource(url, TIMEOUT_S)


SPAN = Span(start=1700000000.0, end=1700000120.0, step_s=60.0)


def matrix(*values: object) -> dict[str, object]:
    points = [[1700000000 + 60 * step, value] for step, value in enumerate(values)]
    result = [{"metric": {"pod": "a"}, "values": points}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def test_a_range(serve: Serve) -> None:
    server = serve(answering(matrix("1", "NaN", "3.5")))
    (found,) = source(server).query_range("up", SPAN)
    assert found.labels == {"pod": "a"}
    assert [at for at, _ in found.points] == [1700000000.0, 1700000060.0, 1700000120.0]
    assert math.isnan(found.points[1][1])
    assert found.points[2][1] == 3.5
    asked = b"GET /api/v1/query_range?query=up&start=1700000000&end=1700000120&step=60 HTTP"
    assert server.requests[0].startswith(asked)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(vector("1"), id="a vector"),
        pytest.param({"status": "success", "data": {"result": [{"metric": {}}]}}, id="no values"),
        pytest.param(
            {"status": "success", "data": {"result": [{"metric": {}, "values": [1]}]}}, id="no pair"
        ),
        pytest.param({"status": "success", "data": {"result": [None]}}, id="null"),
    ],
)
def test_what_is_no_range(serve: Serve, body: object) -> None:
    server = serve(answering(body))
    with pytest.raises(Unavailable, match="no query result"):
        source(server).query_range("up", SPAN)


def test_a_range_has_the_same_deadline(serve: Serve) -> None:
    asked = source(serve(lambda _: time.sleep(60)))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="within 1 s"):
        asked.query_range("up", SPAN)
    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
