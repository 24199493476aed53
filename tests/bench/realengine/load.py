"""Sends requests to a completions server from processes of their own, and times each token.

Runs beside the engine on a lent machine, so it needs aiohttp and nothing of Trimtab.
"""

import asyncio
import itertools
import json
import random
import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

import aiohttp

URL = "http://127.0.0.1:8000/v1/completions"
FIRST_WORD, LAST_WORD = 300, 32000
"""Token ids that prompts are drawn from: in the vocabulary of every model, and none special."""
_EVENT = b"\n\n"
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_LAST_EVENTS = 2
"""Of a stream: the usage and [DONE]."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    id: int
    at: float
    """Seconds from the start of its stage."""
    prompt: int
    answer: int
    """Both in tokens."""
    extra: dict[str, float] = field(default_factory=dict)


@dataclass
class Answered:
    """What became of one; times in seconds from the start of its stage."""

    id: int
    at: float
    prompt: int
    answer: int
    sent: float = -1.0
    first: float = -1.0
    last: float = -1.0
    done: float = -1.0
    tokens: int = 0
    """As the engine counted them."""
    chunks: int = 0
    error: str = ""
    gaps: list[float] = field(default_factory=list)


def words(seed: int, count: int) -> list[int]:
    """Return a prompt that no other seed has, and the beginning of longer ones of its seed."""
    dice = random.Random(seed)
    return [dice.randrange(FIRST_WORD, LAST_WORD) for _ in range(count)]


def body(ask: Ask, seed: int, stream: bool) -> bytes:
    """Return the request's JSON: an answer of exactly so many tokens, the likeliest each time."""
    asked = {
        "model": "m",
        "prompt": words(seed, ask.prompt),
        "max_tokens": ask.answer,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": stream,
        **ask.extra,
    }
    if stream:
        asked["stream_options"] = {"include_usage": True}
    return json.dumps(asked).encode()


async def _one(
    session: aiohttp.ClientSession, ask: Ask, data: bytes, start: float, stream: bool
) -> Answered:
    mine = Answered(id=ask.id, at=ask.at, prompt=ask.prompt, answer=ask.answer)
    await asyncio.sleep(max(0.0, start + ask.at - time.time()))
    mine.sent = time.time() - start
    times: list[float] = []
    tail = b""
    try:
        async with session.post(
            URL, data=data, headers={"Content-Type": "application/json"}
        ) as reply:
            if reply.status != 200:
                mine.error = f"HTTP {reply.status}: {(await reply.text())[:200]}"
                return mine
            if not stream:
                mine.tokens = (await reply.json())["usage"]["completion_tokens"]
            async for piece in reply.content.iter_any():
                now = time.time() - start
                events = (tail[-1:] + piece).count(_EVENT)
                times.extend([now] * events)
                tail = (tail + piece)[-2000:]
        mine.done = time.time() - start
        if stream:
            mine.tokens = int(_TOKENS.findall(tail)[-1])
    except (aiohttp.ClientError, OSError, ValueError, IndexError) as error:
        mine.error = f"{type(error).__name__}: {error}"[:200]
    except asyncio.CancelledError:
        mine.error = "left"
    whole = not mine.error
    times = times[:-_LAST_EVENTS] if whole else times
    mine.chunks = len(times)
    if times:
        mine.first, mine.last = times[0], times[-1]
        mine.gaps = [b - a for a, b in itertools.pairwise(times)]
    return mine


async def _share(
    asks: list[Ask], bodies: list[bytes], start: float, until: float
) -> list[Answered]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**20,
    ) as session:
        tasks = [
            asyncio.create_task(_one(session, ask, data, start, True))
            for ask, data in zip(asks, bodies, strict=True)
        ]
        await asyncio.wait(tasks, timeout=max(0.1, start + until - time.time()))
        for task in tasks:
            task.cancel()
        return list(await asyncio.gather(*tasks))


def _worker(asks: list[Ask], seed: int, start: float, until: float) -> list[Answered]:
    bodies = [body(ask, seed + ask.id, True) for ask in asks]
    return asyncio.run(_share(asks, bodies, start, until))


def open_loop(
    asks: list[Ask], seed: int, until: float, processes: int = 6, lead_s: float = 2.5
) -> list[Answered]:
    """Send `asks` when each is due; leave who is not answered `until` seconds from the start."""
    if not asks:
        return []
    start = time.time() + lead_s
    with ProcessPoolExecutor(processes) as pool:
        parts = [
            pool.submit(_worker, asks[i::processes], seed, start, until) for i in range(processes)
        ]
        found = [one for part in parts for one in part.result()]
    return sorted(found, key=lambda one: one.id)


async def _burst(bodies: list[bytes], asks: list[Ask]) -> float:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        start = time.time()
        found = await asyncio.gather(
            *(
                _one(session, ask, data, start, False)
                for ask, data in zip(asks, bodies, strict=True)
            )
        )
    wrong = [one.error or "wrong length" for one in found if one.error or one.tokens != one.answer]
    if wrong:
        raise RuntimeError(wrong[0])
    return max(one.done for one in found)


def burst(prompt: int, answer: int, count: int, seed: int) -> float:
    """Return the seconds in which `count` requests that come at once are all answered.

    The prompt of each is the beginning of the one that it had with the same seed before.
    """
    asks = [Ask(id=i, at=0.0, prompt=prompt, answer=answer) for i in range(count)]
    return asyncio.run(_burst([body(ask, seed + ask.id, False) for ask in asks], asks))


async def _users(users: int, rounds: int, prompt: int, answer: int, seed: int) -> list[Answered]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        start = time.time()

        async def user(number: int) -> list[Answered]:
            found = []
            for turn in range(rounds):
                ask = Ask(
                    id=number * rounds + turn, at=time.time() - start, prompt=prompt, answer=answer
                )
                data = body(ask, seed + ask.id, True)
                ask = Ask(id=ask.id, at=time.time() - start, prompt=prompt, answer=answer)
                found.append(await _one(session, ask, data, start, True))
            return found

        return [one for some in await asyncio.gather(*map(user, range(users))) for one in some]


def _crowd(users: int, rounds: int, prompt: int, answer: int, seed: int) -> list[Answered]:
    return asyncio.run(_users(users, rounds, prompt, answer, seed))


def closed_loop(users: int, rounds: int, prompt: int, answer: int, seed: int) -> list[Answered]:
    """Let `users` ask again as soon as they are answered, `rounds` times each."""
    processes = min(users, 4)
    with ProcessPoolExecutor(processes) as pool:
        parts = [
            pool.submit(
                _crowd, users // processes, rounds, prompt, answer, seed + 10_000_000 * (i + 1)
            )
            for i in range(processes)
        ]
        return [one for part in parts for one in part.result()]


def row(one: Answered) -> dict[str, object]:
    """Return it as a row of a table, its gaps summed up in milliseconds."""
    fields = asdict(one)
    gaps = sorted(fields.pop("gaps"))
    quantiles = {
        f"gap_p{share}_ms": round(gaps[min(int(share / 100 * len(gaps)), len(gaps) - 1)] * 1e3, 3)
        for share in (50, 95, 99)
        if gaps
    }
    times = {k: round(fields[k], 5) for k in ("at", "sent", "first", "last", "done")}
    return {**fields, **times, **quantiles}
