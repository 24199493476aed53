"""The engine stand-in's process: real pods from a real API server, pages for a real Prometheus.

    python -m trimtab_e2e.fleet --kubeconfig FILE --port 9200 --load load.yaml

It answers on 127.0.0.1:
    GET  /pods/NAMESPACE/POD/metrics   the page of that pod's engine; 503 while there is none
    GET  /summary                      what became of the requests of each LLMDeployment
    POST /load                         further loads, a document as in --load; they begin at once
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from aiohttp import web
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from trimtab.errors import InvalidInput
from trimtab_e2e import fleet_load
from trimtab_e2e.podwatch import RETRY_S, Cluster, PodWatcher
from trimtab_e2e.serving_pods import Document, EngineKind
from trimtab_e2e.standin import StandIn

TICK_S = 0.05
_HOST = "127.0.0.1"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger(__name__)


class Fleet:
    """Gives the stand-in its clock, its pods and its web server."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stand_in = StandIn()
        # Wall time without its jumps: metrics carry Unix time, and time must not go back.
        self._epoch = time.time() - time.monotonic()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def now(self) -> float:
        """Return Unix seconds that never go back."""
        return self._epoch + time.monotonic()

    def load(self, document: Mapping[str, Any]) -> None:
        """Let the loads of a document begin.

        Raises:
            InvalidInput: It is unusable; none has begun that stands behind the unusable one.
        """
        for service, load in fleet_load.parse(document).items():
            self._stand_in.start_load(service, load, self.now())

    async def run(self, port: int) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()

        def listed(pods: list[Document]) -> None:
            loop.call_soon_threadsafe(lambda: self._stand_in.pods_listed(pods, self.now()))

        def changed(kind: str, pod: Document) -> None:
            take = self._stand_in.pod_deleted if kind == "DELETED" else self._stand_in.pod_changed
            loop.call_soon_threadsafe(lambda: take(pod, self.now()))

        watcher = PodWatcher(self._cluster, listed, changed)
        runner = web.AppRunner(self._app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, _HOST, port).start()
        watcher.start()
        try:
            while True:
                self._stand_in.advance(self.now())
                self._start_engines()
                await asyncio.sleep(TICK_S)
        finally:
            watcher.stop()
            await runner.cleanup()

    def _start_engines(self) -> None:
        for pod in self._stand_in.without_engine():
            uid = pod["metadata"]["uid"]
            if uid not in self._asking:
                self._asking[uid] = asyncio.create_task(self._start_engine(uid, pod))

    async def _start_engine(self, uid: str, pod: Document) -> None:
        kind: EngineKind | InvalidInput
        try:
            kind = await asyncio.to_thread(self._cluster.engine_kind, pod)
        except InvalidInput as error:
            kind = error
        except (ApiException, HTTPError, OSError) as error:
            _log.warning("no answer from the API server, trying again: %s", error)
            await asyncio.sleep(RETRY_S)
            return
        finally:
            del self._asking[uid]
        self._stand_in.start_engine(uid, kind, self.now())

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/pods/{namespace}/{pod}/metrics", self._metrics),
                web.get("/summary", self._summary),
                web.post("/load", self._load),
            ]
        )
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        names = request.match_info
        page = self._stand_in.page(names["namespace"], names["pod"], self.now())
        if page is None:
            return web.Response(status=503, text="no engine runs in this pod\n")
        return web.Response(body=page.encode(), headers={"Content-Type": _CONTENT_TYPE})

    async def _summary(self, _: web.Request) -> web.Response:
        return web.json_response(self._stand_in.summary(self.now()))

    async def _load(self, request: web.Request) -> web.Response:
        try:
            self.load(yaml.safe_load(await request.text()))
        except (InvalidInput, yaml.YAMLError) as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(status=204)


def main(
    kubeconfig: Annotated[Path, typer.Option(help="The cluster whose pods are served.")],
    port: Annotated[int, typer.Option(help="Where Prometheus looks for the pods.")],
    load: Annotated[
        Path | None, typer.Option(help="YAML: NAMESPACE/NAME of an LLMDeployment to its load.")
    ] = None,
) -> None:
    """Stand in for the engines of all serving pods, and for their clients."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    fleet = Fleet(Cluster(kubeconfig))
    try:
        if load is not None:
            fleet.load(yaml.safe_load(load.read_text()) or {})
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from error
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_told_to_stop(fleet, port))


async def _until_told_to_stop(fleet: Fleet, port: int) -> None:
    task = asyncio.create_task(fleet.run(port))
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    await task


if __name__ == "__main__":
    typer.run(main)
