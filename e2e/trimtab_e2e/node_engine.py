"""The engine stand-in as a server of its own, in a real container: `vllm serve` without a GPU.

It takes vLLM's arguments, answers vLLM's HTTP API and is as fast as the engine model of
`trimtab/simulate` says that a real engine on the named accelerator is. Its answers are filler of
the asked length. As vLLM, it opens its port when the engine is up, and on SIGTERM it takes no new
connection, finishes what it has, and ends.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from trimtab.api.naming import ACCELERATOR_LABEL, SERVING_PORT
from trimtab.catalog import accelerators
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, FirstToken, Request
from trimtab_e2e.serving_pods import arguments_of, kind_of, served_name
from trimtab_e2e.standin import pace_of
from trimtab_e2e.vllm_page import EngineFacts, Gauges, Page

DEVICES_VARIABLE = "STANDIN_DEVICES"
"""`PART=ACCELERATOR,...`: what a pod whose name has PART in it takes itself to run on, as a real
engine would see by looking. A pod does not know its labels."""
LOAD_VARIABLE = "STANDIN_LOAD_SECONDS"
"""How long the weights take to load."""
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CHARACTERS_PER_TOKEN = 4
_DEFAULT_TOKENS = 16


@dataclass(slots=True)
class _Answer:
    """What a client waits for."""

    first: asyncio.Event = field(default_factory=asyncio.Event)
    finished: Finished | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class EngineServer:
    """One engine, its clock and its clients."""

    def __init__(self, words: Sequence[str], accelerator: Accelerator) -> None:
        """Start the engine that `vllm serve WORDS` would.

        Raises:
            InvalidInput: The real engine would not start with these arguments.
        """
        labels = {ACCELERATOR_LABEL: accelerator.name}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"args": list(words)}]}}
        kind = kind_of(pod, None, accelerator)
        _, flags = arguments_of(pod)
        self.port = int(flags.get("--port", SERVING_PORT))
        self.drain_s = float(flags.get("--shutdown-timeout", 0))
        self._name = served_name(pod)
        self._epoch = time.time() - time.monotonic()
        self._engine = Engine(pace_of(kind), kind.settings)
        self._page = Page(
            EngineFacts(
                model_name=self._name,
                max_model_len=kind.settings.max_model_len,
                kv_blocks=self._engine.kv_blocks,
                kv_dtype=kind.settings.kv_dtype,
                memory_utilization=kind.settings.memory_utilization,
                started_at=self._now(),
            )
        )
        self._answers: dict[int, _Answer] = {}
        self._number = 0
        self._changed = asyncio.Event()

    def app(self) -> web.Application:
        """Give the web application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._complete),
                web.post("/v1/chat/completions", self._complete),
            ]
        )
        return app

    async def run(self) -> None:
        """Let the engine compute until cancelled."""
        while True:
            self._advance()
            wait = max(0.0, self._engine.next_at - self._now())
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(wait, 1.0))

    def _now(self) -> float:
        return self._epoch + time.monotonic()

    def _advance(self) -> None:
        events = self._engine.advance(self._now())
        self._page.record(events)
        for event in events:
            if isinstance(event, FirstToken):
                self._answers[event.request.id].first.set()
            elif isinstance(event, Finished):
                answer = self._answers.pop(event.request.id)
                answer.finished = event
                answer.first.set()
                answer.done.set()

    def _submit(self, input_tokens: int, output_tokens: int) -> _Answer | None:
        self._advance()
        now = self._now()
        request = Request(
            id=self._number, arrival=now, input_tokens=input_tokens, output_tokens=output_tokens
        )
        self._number += 1
        answer = self._answers[request.id] = _Answer()
        if not self._engine.submit(request, now):
            del self._answers[request.id]
            return None
        self._changed.set()
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._name, "object": "model", "owned_by": "trimtab"}
        return web.json_response({"object": "list", "data": [model]})

    async def _metrics(self, _: web.Request) -> web.Response:
        self._advance()
        page = self._page.render(
            Gauges(
                running=self._engine.running,
                waiting=self._engine.waiting(self._now()),
                kv_usage=self._engine.kv_blocks_used / self._engine.kv_blocks,
            )
        )
        return web.Response(body=page.encode(), headers={"Content-Type": _CONTENT_TYPE})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("model") != self._name:
            return _error(404, f"The model `{body.get('model')}` does not exist.")
        prompt_tokens, tokens = _tokens_of(body), int(body.get("max_tokens") or _DEFAULT_TOKENS)
        answer = self._submit(prompt_tokens, tokens)
        if answer is None:
            return _error(400, f"{prompt_tokens} + {tokens} tokens do not fit.")
        chat = "messages" in body
        if body.get("stream"):
            return await self._stream(request, answer, chat=chat)
        await answer.done.wait()
        made = 0 if answer.finished is None else answer.finished.generated
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": made,
            "total_tokens": prompt_tokens + made,
        }
        choice = _choice(" tok" * made, chat=chat, streamed=False) | {"finish_reason": "length"}
        return web.json_response(
            {"object": "text_completion", "model": self._name, "choices": [choice], "usage": usage}
        )

    async def _stream(
        self, request: web.Request, answer: _Answer, *, chat: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.first.wait()
        await response.prepare(request)
        await self._send(response, " tok", chat=chat)
        await answer.done.wait()
        made = 0 if answer.finished is None else answer.finished.generated
        await self._send(response, " tok" * (made - 1), chat=chat)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, text: str, *, chat: bool) -> None:
        document = {"model": self._name, "choices": [_choice(text, chat=chat, streamed=True)]}
        await response.write(f"data: {json.dumps(document)}\n\n".encode())


def accelerator_of(hostname: str, devices: str) -> Accelerator:
    """Return the accelerator that a pod takes itself to run on.

    Raises:
        InvalidInput: No part of `devices` is in the name, or the catalogue lacks its accelerator.
    """
    for pair in devices.split(","):
        part, _, name = pair.partition("=")
        if part and part in hostname:
            found = accelerators.get(name)
            if found is not None:
                return found
    raise InvalidInput(
        DEVICES_VARIABLE, f"it names no accelerator for {hostname}", "Write PART=ACCELERATOR,..."
    )


async def serve(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Serve until SIGTERM, and then until all requests are answered."""
    accelerator = accelerator_of(socket.gethostname(), environment.get(DEVICES_VARIABLE, ""))
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, told_to_stop.set)
    server = EngineServer(words, accelerator)
    await asyncio.sleep(float(environment.get(LOAD_VARIABLE, 0)))
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=server.drain_s)
    await runner.setup()
    engine = asyncio.create_task(server.run())
    await web.TCPSite(runner, "0.0.0.0", server.port, backlog=1024).start()
    await told_to_stop.wait()
    await runner.cleanup()
    engine.cancel()


def main(words: Sequence[str]) -> None:
    """Run `vllm serve WORDS`."""
    try:
        asyncio.run(serve(words, os.environ))
    except InvalidInput as error:
        raise SystemExit(f"vllm stand-in: {error}") from None


def _tokens_of(body: Mapping[str, Any]) -> int:
    prompt = body.get("prompt")
    if isinstance(prompt, list):  # token ids
        return len(prompt)
    text = prompt or "".join(str(message.get("content", "")) for message in body["messages"])
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def _choice(text: str, *, chat: bool, streamed: bool) -> dict[str, Any]:
    if not chat:
        return {"index": 0, "text": text}
    message = {"role": "assistant", "content": text}
    return {"index": 0, "delta" if streamed else "message": message}


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "BadRequestError", "code": status}
    return web.json_response({"error": error}, status=status)
