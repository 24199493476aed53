"""The endpoints: healthy, not ready, metrics; and a port in use is a clear mistake."""

import asyncio
import socket
from collections.abc import Iterable

import aiohttp
import pytest

from trimtab.config import OperatorConfig
from trimtab.controller.beats import LISTING, watch_of
from trimtab.controller.context import Context
from trimtab.controller.health import serve
from trimtab.errors import InvalidInput
from trimtab.observe.kinds import Kind


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def local() -> Context:
    config = OperatorConfig(
        bind_address="127.0.0.1", health_port=free_port(), metrics_port=free_port()
    )
    return Context(config=config)


async def asked(
    context: Context, alive: Iterable[str], ready: Iterable[str]
) -> dict[str, tuple[int, str]]:
    """Serve, and return status and text of every page."""
    serving = asyncio.create_task(serve(context, lambda: alive, lambda: ready))
    ports = {
        "healthz": context.config.health_port,
        "readyz": context.config.health_port,
        "metrics": context.config.metrics_port,
    }
    pages = {}
    async with aiohttp.ClientSession() as session:
        for name, port in ports.items():
            for _ in range(100):
                try:
                    async with session.get(f"http://127.0.0.1:{port}/{name}") as response:
                        pages[name] = (response.status, await response.text())
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)
    context.stop.set()
    await serving
    return pages


def test_a_healthy_process_says_ok_and_shows_its_metrics() -> None:
    context = local()
    context.beats.beat(LISTING)
    context.beats.beat(watch_of(Kind.NODE))
    pages = asyncio.run(asked(context, [], []))
    assert pages["healthz"] == (200, "ok")
    assert pages["readyz"] == (200, "ok")
    assert 'trimtab_watch_age_seconds{kind="Node"}' in pages["metrics"][1]
    assert "trimtab_list_age_seconds" in pages["metrics"][1]


def test_every_problem_is_a_line() -> None:
    pages = asyncio.run(asked(local(), ["stuck", "deaf"], ["no plan"]))
    assert pages["healthz"] == (503, "stuck\ndeaf")
    assert pages["readyz"] == (503, "no plan")


def test_a_port_in_use_names_the_flag() -> None:
    context = local()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", context.config.metrics_port))
        taken.listen()
        with pytest.raises(InvalidInput, match="--metrics-port"):
            asyncio.run(serve(context, list, list))
