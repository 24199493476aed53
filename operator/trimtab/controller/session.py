"""kopf's HTTP session, traced: when each kind was watched anew, and when it was listed anew.

kopf tells its handlers neither. A silent watcher would go unnoticed without the first, and what
was deleted while a watcher was away would live on in the mirror without the second.
"""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf
from yarl import URL

from trimtab.actuate.connection import USER_AGENT, Connection
from trimtab.controller.beats import watch_of
from trimtab.controller.context import Context
from trimtab.observe.kinds import WATCHED, Kind


def login_with(
    context: Context, info: Callable[[], kopf.ConnectionInfo]
) -> Callable[..., Coroutine[Any, Any, kopf.AiohttpSession]]:
    """Return a login handler whose session tells `context` what the watchers do.

    Args:
        context: Who is told.
        info: How to reach the API server; asked again whenever the server answers 401.
    """

    async def login(**_: Any) -> kopf.AiohttpSession:
        found = info()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
            headers=found.as_http_headers() | {"User-Agent": USER_AGENT},
            trace_configs=[_trace(context)],
        )
        return kopf.AiohttpSession(server=found.server, aiohttp_session=session)

    return login


def connection_info(connection: Connection) -> kopf.ConnectionInfo:
    """Return how the Kubernetes client reaches the server, as kopf wants it."""
    configuration = connection.configuration
    header = configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=None if configuration.ssl_ca_cert else configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def kind_at(path: str) -> Kind | None:
    """Return the kind whose collection, cluster-wide or of a namespace, has this URL path."""
    parts = path.strip("/").split("/")
    if len(parts) > 2 and parts[-3] == "namespaces":
        parts[-3:-1] = []
    return _COLLECTIONS.get("/" + "/".join(parts))


_COLLECTIONS = {watched.path(): watched.kind for watched in WATCHED}


def _trace(context: Context) -> aiohttp.TraceConfig:
    async def answered(
        _session: aiohttp.ClientSession,
        _trace: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        """Take note of an answer; that of a watch begins with its headers, long before it ends."""
        kind = kind_at(request.url.path)
        if kind is None or request.response.status != HTTPStatus.OK:
            return
        if _watches(request.url):
            context.beats.beat(watch_of(kind))
        else:
            context.watcher_listed(kind)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(answered)
    return trace


def _watches(url: URL) -> bool:
    return url.query.get("watch") == "true"
