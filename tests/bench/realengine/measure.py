"""Runs vLLM with random weights on the GPU of this machine and writes down how fast it is.

`python3 -m bench.realengine.measure MODEL TRACE.csv OUT` in tests/; vLLM must be importable.
"""

import csv
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.realengine.load import Answered, Ask, burst, closed_loop, open_loop, row
from bench.realengine.models import MODELS

LONGEST = 16384
READY_WITHIN_S = 300.0
STAGES = (0.15, 0.35, 0.55, 0.75, 0.88, 1.0)
"""Of the knee that the overloaded stage finds."""
STAGE_S, DRAIN_S, OVERLOAD_S = 32.0, 15.0, 44.0
STEADY = 0.4
"""Share of the overloaded stage after which its batch is full."""
SHORT, LONG = 8, 104
"""Answers whose difference is pure decoding."""
GRID = ((512, (1, 4, 16, 64, 128, 256)), (2048, (1, 16, 64, 128)), (8192, (1, 8, 16, 32)))
PREFILLS = (16, 128, 256, 512, 1024, 2048, 4096, 8192, 16000)


class Bench:
    """One server, what is asked of it, and where the answers go."""

    def __init__(self, model: str, trace: Path, out: Path, limit_s: float) -> None:
        """Keep the settings; nothing is started."""
        self.model, self.trace, self.out = model, trace, out
        self.began = time.time()
        self.limit_s = limit_s
        self.seed = 1_000_000_000
        self.facts: dict[str, Any] = {"model": model}
        self.server: subprocess.Popen[bytes] | None = None
        self.stage = "start"
        out.mkdir(parents=True, exist_ok=True)

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.limit_s - (time.time() - self.began)

    def say(self, text: str) -> None:
        """Print with the time, and keep the facts."""
        sys.stdout.write(f"[{time.time() - self.began:6.1f}] {text}\n")
        sys.stdout.flush()
        (self.out / "facts.json").write_text(json.dumps(self.facts, indent=1))

    def seeds(self, count: int = 100_000) -> int:
        """Return the first of seeds that nobody had."""
        self.seed += count
        return self.seed

    def start(self, extra: list[str]) -> bool:
        """Start the server and wait for it."""
        folder = Path(tempfile.gettempdir()) / self.model
        write_model(folder, MODELS[self.model])
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
            "--served-model-name", "m", "--load-format", "dummy", "--max-model-len", str(LONGEST),
            "--port", "8000", *extra,
        ]  # fmt: skip
        self.facts["command"] = command
        log = (self.out / "server.log").open("ab")
        began = time.time()
        self.server = subprocess.Popen(command, stdout=log, stderr=log)
        while time.time() - began < READY_WITHIN_S and self.server.poll() is None:
            try:
                get("/health")
            except OSError:
                time.sleep(0.25)
                continue
            self.facts["ready_s"] = round(time.time() - began, 1)
            self.say(f"ready after {self.facts['ready_s']} s")
            return True
        self.say(f"not ready; exit {self.server.poll()}")
        sys.stdout.write((self.out / "server.log").read_text(errors="replace")[-9000:])
        self.stop()
        return False

    def stop(self) -> None:
        """Stop the server."""
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()

    def watch(self) -> None:
        """Write gauges every two seconds, from now on."""

        def forever() -> None:
            with (self.out / "gauges.csv").open("w") as file:
                file.write("t,stage,running,waiting,kv,steps,prompt,generated,power_w,sm_mhz\n")
                while True:
                    try:
                        found = totals(get("/metrics"))
                        power = drawn()
                        keys = ("running", "waiting", "kv", "steps", "prompt", "generated")
                        values = [f"{found[key]:g}" for key in keys]
                        since = time.time() - self.began
                        file.write(f"{since:.2f},{self.stage},{','.join(values)},{power}\n")
                        file.flush()
                    except (OSError, KeyError):
                        pass
                    time.sleep(2.0)

        threading.Thread(target=forever, daemon=True).start()

    def page(self, name: str) -> None:
        """Keep the page of metrics as it is now."""
        (self.out / f"metrics-{name}.txt").write_text(get("/metrics"))

    def prefills(self) -> None:
        """Time prompts alone."""
        self.stage = "prefill"
        with (self.out / "prefill.csv").open("w") as file:
            file.write("prompt,count,seconds\n")
            for prompt in PREFILLS:
                for _ in range(5):
                    file.write(f"{prompt},1,{burst(prompt, 1, 1, self.seeds()):.6f}\n")
            for prompt, count in ((512, 16), (1024, 32), (2048, 8)):
                for _ in range(3):
                    file.write(f"{prompt},{count},{burst(prompt, 1, count, self.seeds()):.6f}\n")
        self.say("prompts alone are timed")

    def decodes(self) -> None:
        """Time steps that only decode."""
        self.stage = "decode"
        room = self.facts["kv_tokens"]
        seed = self.seeds()
        with (self.out / "decode.csv").open("w") as file:
            file.write("batch,context,step_ms,short_s,long_s\n")
            for context, batches in GRID:
                for batch in batches:
                    if batch * (context + LONG + 16) > room or self.left_s() < 30:
                        continue
                    burst(context, 1, batch, seed)
                    short = [burst(context, SHORT, batch, seed) for _ in range(2)]
                    long = [burst(context, LONG, batch, seed) for _ in range(2)]
                    step = (min(long) - min(short)) / (LONG - SHORT)
                    middle = context + (SHORT + LONG) // 2
                    file.write(
                        f"{batch},{middle},{step * 1e3:.4f},{min(short):.5f},{min(long):.5f}\n"
                    )
                    file.flush()
                    self.say(f"decode {batch} x {middle}: {step * 1e3:.3f} ms")

    def loops(self, users: tuple[int, ...]) -> None:
        """Let users ask in turn."""
        with (self.out / "closed.csv").open("w") as file:
            file.write("users,prompt,answer,requests,ttft_mean_ms,tpot_mean_ms,tokens_per_s\n")
            for count in users:
                self.stage = f"closed-{count}"
                rounds = 3 if count > 4 else 4
                found = closed_loop(count, rounds, 1024, 256, self.seeds())
                # The first turn of all comes at once; neither it nor the last is what lasts.
                good = [one for one in found if not one.error and 0 < one.id % rounds < rounds - 1]
                ttft = statistics.fmean(one.first - one.sent for one in good)
                tpot = statistics.fmean((one.last - one.first) / (one.tokens - 1) for one in good)
                ends = max(one.done for one in found)
                rate = sum(one.tokens for one in found) / ends
                file.write(
                    f"{count},1024,256,{len(good)},{ttft * 1e3:.3f},{tpot * 1e3:.4f},{rate:.1f}\n"
                )
                file.flush()
                self.say(f"{count} users: TTFT {ttft * 1e3:.1f} TPOT {tpot * 1e3:.2f} ms")

    def asks(self, rate: float, lasting_s: float, offset: int) -> list[Ask]:
        """Return Poisson arrivals with the lengths of the trace from row `offset` on."""
        dice = random.Random(offset)
        with self.trace.open() as file:
            lengths = [(int(one[0]), int(one[1])) for one in list(csv.reader(file))[1:]]
        now = 0.0
        found: list[Ask] = []
        while (now := now + dice.expovariate(rate)) < lasting_s:
            prompt, answer = lengths[(offset + len(found)) % len(lengths)]
            prompt = min(prompt, LONGEST - 2100)
            found.append(
                Ask(id=len(found), at=now, prompt=prompt, answer=max(1, min(answer, 2000)))
            )
        return found

    def sweep(self, guess_rps: float) -> None:
        """Overload first, which finds the knee, then the rates below."""
        offset = 0
        knee = self.run("overload", guess_rps, OVERLOAD_S, offset)
        self.facts["knee_rps"] = round(knee, 3)
        for share in STAGES:
            if self.left_s() < STAGE_S + DRAIN_S + 8:
                self.say(f"no time for {share}")
                continue
            offset += 700
            self.run(f"{share:g}", share * knee, STAGE_S, offset)

    def run(self, name: str, rate: float, lasting_s: float, offset: int) -> float:
        """Run one stage and return its served requests per second, by tokens."""
        self.stage = name
        asks = self.asks(rate, lasting_s, offset)
        overload = name == "overload"
        until = lasting_s if overload else lasting_s + DRAIN_S
        marks: list[tuple[float, float]] = []

        def mark(wait: float, page: str) -> None:
            time.sleep(wait)
            text = get("/metrics")
            marks.append((time.time(), totals(text)["generated"]))
            if page:
                (self.out / f"metrics-{page}.txt").write_text(text)

        watched = {"overload": ("", "overloaded"), "0.55": ("load1", "load2")}.get(name, ("", ""))
        ends = (STEADY * lasting_s, lasting_s - 2.0)
        threads = [
            threading.Thread(target=mark, args=(2.5 + end, page))
            for end, page in zip(ends, watched, strict=True)
        ]
        for thread in threads:
            thread.start()
        found = open_loop(asks, self.seeds(), until)
        for thread in threads:
            thread.join()
        marks.sort()
        speed = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
        served = speed / statistics.fmean(ask.answer for ask in asks)
        self.keep(name, rate, served, found)
        self.drain()
        return served

    def drain(self) -> None:
        """Wait until nobody is served."""
        for _ in range(40):
            now = totals(get("/metrics"))
            if not now["running"] and not now["waiting"]:
                return
            time.sleep(0.25)

    def keep(self, name: str, rate: float, served: float, found: list[Answered]) -> None:
        """Write the records of a stage and its summary."""
        path = self.out / "requests.csv"
        new = not path.exists()
        columns = (
            "stage", "id", "at", "prompt", "answer", "sent", "first", "last", "done", "tokens",
            "chunks", "gap_p50_ms", "gap_p95_ms", "gap_p99_ms", "error",
        )  # fmt: skip
        with path.open("a", newline="") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore")
            if new:
                table.writeheader()
            for one in found:
                table.writerow({"stage": name, **row(one)})
        good = [one for one in found if not one.error]
        gaps = sorted(gap for one in found for gap in one.gaps)
        ttft = sorted(one.first - one.at for one in found if one.first > 0)
        tpot = sorted((one.last - one.first) / (one.tokens - 1) for one in good if one.tokens > 1)
        late = max((one.sent - one.at for one in found), default=0.0)
        stage = {
            "rate": round(rate, 3), "served": round(served, 3), "asked": len(found),
            "answered": len(good), "client_late_max_ms": round(late * 1e3, 2),
            "chunks_per_token": round(
                sum(one.chunks for one in good) / max(1, sum(one.tokens for one in good)), 4
            ),
            "gap_ms": {f"p{s}": at(gaps, s) for s in (5, 25, 50, 75, 90, 95, 99)},
            "ttft_ms": {f"p{s}": at(ttft, s) for s in (50, 90, 95, 99)},
            "tpot_ms": {f"p{s}": at(tpot, s) for s in (50, 90, 95, 99)},
            "errors": sorted({one.error for one in found if one.error})[:3],
        }  # fmt: skip
        self.facts.setdefault("stages", {})[name] = stage
        self.say(f"stage {name}: {json.dumps(stage)}")


def at(values: list[float], share: int) -> float:
    """Return a percentile of ascending seconds, in milliseconds."""
    return (
        round(values[min(int(share / 100 * len(values)), len(values) - 1)] * 1e3, 3)
        if values
        else -1
    )


def get(path: str) -> str:
    """Return a page of the server."""
    with urllib.request.urlopen(f"http://127.0.0.1:8000{path}", timeout=10) as reply:
        text: str = reply.read().decode()
        return text


def drawn() -> str:
    """Return watts and megahertz of the GPU."""
    command = ["nvidia-smi", "--query-gpu=power.draw,clocks.sm", "--format=csv,noheader,nounits"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip().replace(" ", "")


def totals(page: str) -> dict[str, float]:
    """Return what is watched of a page."""
    names = {
        "running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting",
        "kv": "vllm:kv_cache_usage_perc", "steps": "vllm:iteration_tokens_total_count",
        "prompt": "vllm:prompt_tokens_total", "generated": "vllm:generation_tokens_total",
    }  # fmt: skip
    found = {}
    for key, name in names.items():
        match = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
        if match:
            found[key] = float(match[1])
    return found


def write_model(folder: Path, config: dict[str, Any]) -> None:
    """Write a model without weights: its config, and a tokenizer whose words are numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {f"w{i}": i for i in range(config["vocab_size"])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "unk_token": "w0",
                "bos_token": "w1",
                "eos_token": "w2",
            }
        )
    )


def main() -> int:
    """Run all, as far as the time goes."""
    model, trace, out, limit_s, guess = sys.argv[1:6]
    bench = Bench(model, Path(trace), Path(out), float(limit_s))
    extra = sys.argv[6:]
    if not bench.start(extra) and not bench.start([*extra, "--enforce-eager"]):
        return 1
    try:
        bench.page("fresh")
        page = get("/metrics")
        blocks = re.search(r'num_gpu_blocks="(\d+)"', page)
        size = re.search(r'block_size="(\d+)"', page)
        assert blocks is not None
        assert size is not None
        bench.facts["kv_tokens"] = int(blocks[1]) * int(size[1])
        burst(64, 8, 4, bench.seeds())
        time.sleep(6)
        bench.page("idle")
        bench.watch()
        bench.prefills()
        bench.sweep(float(guess))
        if bench.left_s() > 70:
            bench.loops((1, 8, 32, 128))
        if bench.left_s() > 60:
            bench.decodes()
        bench.say("done")
    finally:
        bench.stop()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
