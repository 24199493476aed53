"""The source against servers that speak Prometheus' API in their own ways.

What each says is in its documentation and code: Thanos (docs/components/query.md, partial
response), Mimir (docs, HTTP API: tenant header, limits answered with 422), VictoriaMetrics
(app/vmselect/prometheus/query_response.qtpl: `isPartial`, `stats`), Google Cloud's managed service
(a path with the project in it, and a token that lasts an hour), Prometheus 3 (`infos`).
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from trimtab.errors import Unavailable
from trimtab.observe.access import TOKEN, Access
from trimtab.observe.prometheus import PrometheusSource, Refused

RESULT = [{"metric": {"namespace": "a", "pod": "b"}, "value": [1700000000, "1.5"]}]
ANSWER = {"status": "success", "data": {"resultType": "vector", "result": RESULT}}
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answers."""

    document: object
    status: int = 200
    packed: bool = False
    chunked: bool = False


@dataclass
class Backend:
    """A server with a path of its own, which answers what `reply` says to the headers."""

    path: str
    reply: Callable[[dict[str, str]], Reply]
    queries: list[str] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{self.path}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, backend: Backend, *args: Any) -> None:
        self._backend = backend
        super().__init__(*args)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != f"{self._backend.path}/api/v1/query":
            return self._send(Reply(document="404 page not found", status=404))
        self._backend.queries.append(parse_qs(parts.query)["query"][0])
        return self._send(self._backend.reply(dict(self.headers.items())))

    def _send(self, reply: Reply) -> None:
        body = json.dumps(reply.document).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        if reply.packed:
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 7):
                part = body[at : at + 7]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def always(document: object, **how: Any) -> Callable[[dict[str, str]], Reply]:
    return lambda headers: Reply(document=document, **how)


WHOLE = {
    "prometheus": Backend("", always(ANSWER | {"infos": ["metric might not be a counter"]})),
    "prometheus-chunked": Backend("", always(ANSWER, chunked=True)),
    "prometheus-behind-a-prefix": Backend("/prom", always(ANSWER)),
    "thanos": Backend("", always(ANSWER | {"warnings": []})),
    "mimir": Backend("/prometheus", always(ANSWER, packed=True)),
    "mimir-chunked": Backend("/prometheus", always(ANSWER, packed=True, chunked=True)),
    "victoriametrics": Backend(
        "/select/0/prometheus",
        always(ANSWER | {"isPartial": False, "stats": {"seriesFetched": "1"}}),
    ),
    "victoriametrics-with-a-label-of-that-name": Backend(
        "",
        always(
            {
                "status": "success",
                "isPartial": False,
                "data": {
                    "resultType": "vector",
                    "result": [
                        {"metric": {"isPartial": "true", "warnings": "x"}, "value": [1, "1.5"]}
                    ],
                },
            }
        ),
    ),
    "google": Backend("/v1/projects/acme/location/global/prometheus", always(ANSWER)),
}


@pytest.mark.parametrize("flavour", list(WHOLE))
def test_a_whole_answer_of_every_flavour(flavour: str) -> None:
    backend = WHOLE[flavour]
    with backend.serving() as url:
        (found,) = PrometheusSource(url + "/", TIMEOUT_S).query('up{pod=~"a|b"}')
    assert found.value == 1.5
    assert backend.queries[-1] == 'up{pod=~"a|b"}'


PARTS: dict[str, tuple[Backend, str]] = {
    "thanos": (
        Backend("", always(ANSWER | {"warnings": ["No StoreAPIs matched for this query"]})),
        "No StoreAPIs matched",
    ),
    "victoriametrics": (
        Backend("/select/0/prometheus", always(ANSWER | {"isPartial": True})),
        "partial",
    ),
    "mimir-limit": (
        Backend(
            "/prometheus",
            always(
                {
                    "status": "error",
                    "errorType": "execution",
                    "error": "the query exceeded the maximum number of chunks",
                },
                status=422,
            ),
        ),
        "the query exceeded the maximum number of chunks",
    ),
}


@pytest.mark.parametrize("flavour", list(PARTS))
def test_an_answer_in_part_is_refused_with_its_reason(flavour: str) -> None:
    backend, why = PARTS[flavour]
    with backend.serving() as url, pytest.raises(Refused, match=why):
        PrometheusSource(url, TIMEOUT_S).query("up")


def test_mimir_serves_a_tenant_and_nobody_else() -> None:
    def reply(headers: dict[str, str]) -> Reply:
        if headers.get("X-Scope-OrgID") != "team-a":
            return Reply(document="no org id", status=401)
        return Reply(document=ANSWER)

    with Backend("/prometheus", reply).serving() as url:
        access = Access(extra=(("X-Scope-OrgID", "team-a"),))
        assert PrometheusSource(url, TIMEOUT_S, access).query("up")[0].value == 1.5
        with pytest.raises(Unavailable, match="HTTP 401"):
            PrometheusSource(url, TIMEOUT_S).query("up")


def test_a_token_that_has_run_out_is_replaced_without_a_restart(tmp_path: Path) -> None:
    def reply(headers: dict[str, str]) -> Reply:
        if headers.get("Authorization") != "Bearer second":
            return Reply(document={"error": "Request had invalid credentials"}, status=401)
        return Reply(document=ANSWER)

    backend = Backend("/v1/projects/acme/location/global/prometheus", reply)
    with backend.serving() as url:
        asked = PrometheusSource(url, TIMEOUT_S, Access(folder=tmp_path))
        (tmp_path / TOKEN).write_text("first\n")
        with pytest.raises(Unavailable, match="HTTP 401: Request had invalid credentials"):
            asked.query("up")
        (tmp_path / TOKEN).write_text("second\n")
        assert asked.query("up")[0].value == 1.5
