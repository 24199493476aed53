"""Series into a real Prometheus by remote write, and the answers of queries back out of it.

Prometheus' remote write 1.0 is a protobuf in a snappy block. Both are written by hand here, as
three messages and one literal of a block, so that nothing has to be installed for it.
"""

import json
import struct
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Labels = tuple[tuple[str, str], ...]
"""Sorted, `__name__` among them."""


@contextmanager
def prometheus(binary: Path, folder: Path, port: int) -> Iterator[str]:
    """Run a Prometheus that scrapes nothing and takes remote writes; yield its address."""
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 15s}\n")
    arguments = [
        str(binary), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
        "--log.level=warn",
    ]  # fmt: skip
    process = subprocess.Popen(arguments)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def push(url: str, series: Mapping[Labels, Sequence[tuple[float, float]]]) -> None:
    """Write (Unix seconds, value) pairs of every series."""
    body = b"".join(_field(1, _series(labels, points)) for labels, points in series.items())
    request = urllib.request.Request(
        f"{url}/api/v1/write",
        data=_snappy(body),
        headers={
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        },
    )
    urllib.request.urlopen(request, timeout=60).read()


def query_range(
    url: str, expression: str, start: float, end: float, step: float
) -> list[dict[str, Any]]:
    """Return the matrix that answers `expression`."""
    asked = {"query": expression, "start": start, "end": end, "step": step}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def _series(labels: Labels, points: Sequence[tuple[float, float]]) -> bytes:
    names = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in labels
    )
    samples = b"".join(
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000)))
        for at, value in points
    )
    return names + samples


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _snappy(content: bytes) -> bytes:
    """Return a snappy block that is one literal: valid, and not compressed at all."""
    return _varint(len(content)) + b"\xfc" + struct.pack("<I", len(content) - 1) + content
