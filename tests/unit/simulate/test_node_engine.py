"""The engine stand-in as a server: vLLM's API, the model's pace, and an end that loses nothing."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from trimtab.errors import InvalidInput
from trimtab_e2e.node_engine import DEVICES_VARIABLE, accelerator_of

_SOURCES = Path(__file__).parents[3] / "e2e"
_MODEL = "Qwen/Qwen3-0.6B"


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "import sys; from trimtab_e2e.node_engine import main; main(sys.argv[1:])"
    words = [_MODEL, "--served-model-name=chat", f"--port={port}", "--shutdown-timeout=20"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *words),
        env={"PYTHONPATH": str(_SOURCES), DEVICES_VARIABLE: f"{socket.gethostname()}=nvidia-l4"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            deadline = time.monotonic() + 60
            while not await _healthy(session, url):
                assert time.monotonic() < deadline, "it never got healthy"
                assert process.returncode is None, "it ended"
                await asyncio.sleep(0.1)
        yield url, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def test_it_answers_as_vllm_does_and_drains() -> None:
    asyncio.run(_answers_and_drains())


async def _answers_and_drains() -> None:
    async with server() as (url, process), aiohttp.ClientSession() as session:
        body = {"model": "chat", "prompt": [1] * 64, "max_tokens": 8}
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            document = await answer.json()
        assert document["usage"] == {
            "prompt_tokens": 64,
            "completion_tokens": 8,
            "total_tokens": 72,
        }
        async with session.post(f"{url}/v1/completions", json={**body, "model": "x"}) as answer:
            assert answer.status == 404
        async with session.post(f"{url}/v1/completions", json={**body, "stream": True}) as answer:
            lines = [line for line in (await answer.text()).split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        texts = [
            json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in lines[:-1]
        ]
        assert "".join(texts) == " tok" * 8
        async with session.get(f"{url}/metrics") as answer:
            page = await answer.text()
        assert 'vllm:generation_tokens_total{engine="0",model_name="chat"} 16.0' in page

        slow = asyncio.create_task(_tokens(session, url, {**body, "max_tokens": 400}))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert not slow.done()
        async with aiohttp.ClientSession() as other:
            assert not await _healthy(other, url)  # takes nothing new ...
        assert await slow == 400  # ... and finishes what it has
        assert await process.wait() == 0


async def _tokens(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> int:
    async with session.post(f"{url}/v1/completions", json=body) as answer:
        document = await answer.json()
        tokens: int = document["usage"]["completion_tokens"]
        return tokens


def test_a_pod_knows_its_accelerator_by_its_name() -> None:
    devices = "l40s=nvidia-l40s,l4=nvidia-l4"
    assert accelerator_of("chat-l40s-tp1-x", devices).name == "nvidia-l40s"
    assert accelerator_of("chat-l4-tp1-x", devices).name == "nvidia-l4"
    with pytest.raises(InvalidInput, match="no accelerator for chat-h100-x"):
        accelerator_of("chat-h100-x", devices)
