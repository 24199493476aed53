"""The real traces that come with Trimtab: requests of three services, and courses of spot nodes."""

import csv
import gzip
from collections.abc import Iterator
from importlib.resources import files

import numpy as np

from trimtab.simulate.inputs.spec import NamedTrace
from trimtab.simulate.traffic import Floats, Traffic

_DATA = files("trimtab.simulate.inputs") / "data"


def named(trace: NamedTrace) -> Traffic:
    """Return a trace whole, as it was recorded, with times from 0."""
    rows = list(table(f"{trace}.csv.gz"))
    blocks = "prefix_block_ids" in rows[0]
    return Traffic(
        at_s=np.array([float(row["t_s"]) for row in rows]),
        input_tokens=np.array([int(row["input_tokens"]) for row in rows]),
        output_tokens=np.array([int(row["output_tokens"]) for row in rows]),
        prefix=tuple(tuple(map(int, row["prefix_block_ids"].split())) for row in rows)
        if blocks
        else None,
    )


def spot_course(name: str) -> tuple[Floats, Floats]:
    """Return a recorded course of spot nodes: seconds (n,) and the share that is there (n,).

    The share is of the most nodes that were ever there: counts are to be scaled, times kept.
    """
    rows = [(float(row["t_s"]), float(row["alive"])) for row in table(f"spot-{name}.csv")]
    at = np.array([time for time, _ in rows])
    alive = np.array([count for _, count in rows])
    # Of several events at one time the last tells what is left.
    last = np.concatenate((np.diff(at) > 0, [True]))
    return at[last], alive[last] / alive.max()


def table(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file of ours, gzipped where its name says so."""
    content = (_DATA / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8")
    yield from csv.DictReader(text.splitlines())
