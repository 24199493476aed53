"""A client of a real Service: it asks at an even rate, and writes down what became of each request.

    python -m trimtab_e2e.node_client --url http://10.96.0.9:8000 --model chat --rate 30 --log FILE

Every second request opens a connection of its own, as a client that is new does. The others go over
connections that are kept, as those of a gateway or of OpenAI's SDK. An engine that ends closes such
a connection while nothing is asked over it, and a request may be on its way just then: it is sent
again, once, over another, as all of those clients do, and counted. It ends with SIGTERM, when all
requests are answered. FILE gets a line when a request is sent, and another when it has ended.
"""

import asyncio
import json
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TextIO

import aiohttp
import typer

_TIMEOUT_S = 600.0  # lost, however busy the machine is; being slow is not what is counted
_LATE_S = 1.0
"""How far behind its rate the client may be; what it missed beyond that is never sent."""
_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request."""

    sent_at: float
    """Unix seconds."""
    took_s: float
    kept: bool
    """Whether it went over a kept connection."""
    resent: bool
    """Whether its kept connection was closed before any answer, so that it was sent again."""
    problem: str | None
    """None when it was answered in full."""


def outcomes(log: Path, since: float, until: float, offset: int = 0) -> tuple[list[Outcome], int]:
    """Read the requests that were sent in [since, until).

    Args:
        log: What the client writes.
        since: Unix seconds.
        until: Unix seconds.
        offset: Bytes of the log that were there before `since`.

    Returns:
        Those that have ended, and how many have not.
    """
    ended, sent = [], 0
    with log.open() as lines:
        lines.seek(offset)
        for line in lines:
            if not line.endswith("\n"):
                break  # it is just being written
            document = json.loads(line)
            if since <= document["sent_at"] < until:
                if "took_s" in document:
                    ended.append(Outcome(**document))
                else:
                    sent += 1
    return ended, sent - len(ended)


def problems(found: Iterable[Outcome]) -> list[Outcome]:
    """Give the requests that failed."""
    return [outcome for outcome in found if outcome.problem is not None]


class Client:
    """Sends requests to one URL and logs each as it ends."""

    def __init__(self, url: str, model: str, tokens: tuple[int, int], log: TextIO) -> None:
        self._url = f"{url}/v1/completions"
        self._body = {"model": model, "prompt": [1] * tokens[0], "max_tokens": tokens[1]}
        self._log = log

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send `rate` requests a second until told to stop; return when all have ended."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as kept,
            aiohttp.ClientSession(
                timeout=timeout, connector=aiohttp.TCPConnector(force_close=True, limit=0)
            ) as single,
            asyncio.TaskGroup() as group,
        ):
            due, number = time.monotonic(), 0
            while not stop.is_set():
                session = kept if number % 2 else single
                group.create_task(self._ask(session, kept=session is kept))
                number += 1
                # A client that got no processor for a while would else send all at once.
                due = max(due + 1 / rate, time.monotonic() - _LATE_S)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _ask(self, session: aiohttp.ClientSession, *, kept: bool) -> None:
        sent_at, started, resent = time.time(), time.monotonic(), False
        self._write({"sent_at": sent_at})
        try:
            problem = await self._post(session)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # A connection that cannot be made is no closed one.
            resent = kept and not isinstance(error, aiohttp.ClientConnectorError)
            problem = await self._again(session) if resent else _named(error)
        except _ERRORS as error:
            problem = _named(error)
        outcome = Outcome(
            sent_at=sent_at,
            took_s=time.monotonic() - started,
            kept=kept,
            resent=resent,
            problem=problem,
        )
        self._write(asdict(outcome))

    def _write(self, document: dict[str, object]) -> None:
        self._log.write(json.dumps(document) + "\n")
        self._log.flush()

    async def _again(self, session: aiohttp.ClientSession) -> str | None:
        try:
            return await self._post(session)
        except _ERRORS as error:
            return _named(error)

    async def _post(self, session: aiohttp.ClientSession) -> str | None:
        """Send one request; tell what is wrong with the answer."""
        async with session.post(self._url, json=self._body) as answer:
            if answer.status != 200:
                return f"HTTP {answer.status}: {await answer.text()}"
            made = (await answer.json())["usage"]["completion_tokens"]
        wanted = self._body["max_tokens"]
        return None if made == wanted else f"cut short: {made} of {wanted} tokens"


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(
    url: Annotated[str, typer.Option(help="Of the Service, without a path.")],
    model: Annotated[str, typer.Option(help="The served name.")],
    log: Annotated[Path, typer.Option(help="Where the outcomes go, one JSON line each.")],
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 30.0,
    input_tokens: Annotated[int, typer.Option(help="Of each request.")] = 256,
    output_tokens: Annotated[int, typer.Option(help="Of each request.")] = 24,
) -> None:
    """Send requests until SIGTERM."""
    asyncio.run(_until_told_to_stop(url, model, (input_tokens, output_tokens), (rate, log)))


async def _until_told_to_stop(
    url: str, model: str, tokens: tuple[int, int], how: tuple[float, Path]
) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    rate, path = how
    with path.open("a") as log:
        await Client(url, model, tokens, log).run(rate, stop)


if __name__ == "__main__":
    typer.run(main)
