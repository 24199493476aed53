"""Measured deployments with a fixed concurrency: TPOT and TTFT, calibration, and rank by cost."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from zlib import crc32

import numpy as np

from bench.accuracy.constants import unmeasured
from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.api.policy import CapacityType
from trimtab.catalog import geometries
from trimtab.catalog.prices import device_price
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible, StepScales
from trimtab.performance.arithmetic import Array
from trimtab.performance.belief import Measurement, fitted, stretched
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.outlook import closed_loop
from trimtab.performance.question import Question, request_of

SATURATED_S = 10.0
"""Measured TTFT from which a run is one long queue."""
CALIBRATION_ROWS = 3
OTHER_CLIENT = "aic-gap-analysis"
"""The campaign that is NVIDIA's own. Its first tokens by themselves ask for 41 ms a request of vLLM
and 107 of TensorRT-LLM, where InferenceX's ask for 10 and 7: that time is its client's or its
releases', and no engine's constant follows it."""

_PROVIDER = "AWS"
"""The only one that lists H100, H200, B200 and B300."""
_NODE = 8
_KEY = (
    "model_path",
    "system",
    "backend",
    "precision",
    "tp_size",
    "moe_ep_size",
    "attention_dp_size",
)


@dataclass(frozen=True)
class Deployment:
    """One replica with one token shape, measured at several numbers of users. Seconds."""

    key: str
    """Model, accelerator, engine, precision and parallelism, as the source has them."""
    version: str
    request: CapacityRequest
    held_out: bool
    """Whether no constant was fitted to it."""
    other_client: bool
    """Whether none was fitted to its first tokens."""
    users: Array
    tpot_s: Array
    ttft_s: Array

    @property
    def group(self) -> str:
        """Model, accelerator and engine."""
        request = self.request
        names = request.geometry.name, request.accelerator.name, request.engine.name
        return "|".join(names)


@dataclass(frozen=True)
class Point:
    """One measured row and what is predicted for it. Seconds."""

    deployment: Deployment
    users: float
    tpot_s: float
    ttft_s: float
    predicted_tpot_s: float
    predicted_ttft_s: float
    rate: float
    """Predicted requests per second."""

    @property
    def served(self) -> float:
        """Requests per second that were measured: every user asks again when answered."""
        answer_s = self.tpot_s * (self.deployment.request.shape.output_tokens - 1)
        return self.users / (self.ttft_s + answer_s)

    @property
    def below_saturation(self) -> bool:
        """Whether the measured run was no mere queue."""
        return self.ttft_s < SATURATED_S


def deployments() -> list[Deployment]:
    """Return all aggregated rows with a known number of users, by replica and token shape.

    A third is held out, by a hash of the replica's name.
    """
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in rows("inferencex_silicon"):
        if row["mode"] == "agg" and row["concurrency"]:
            key = "|".join(row[name] for name in _KEY)
            groups[key, row["backend_version"], row["isl"], row["osl"]].append(row)
    requests = {key: _request(group[0]) for key, group in groups.items()}
    return [
        Deployment(
            key=key[0],
            version=key[1],
            request=requests[key],
            held_out=_held_out(key[0], requests[key]),
            other_client=group[0]["campaign"] == OTHER_CLIENT,
            users=np.array([float(row["concurrency"]) for row in group]),
            tpot_s=np.array([float(row["tpot_ms"]) for row in group]) / 1e3,
            ttft_s=np.array([float(row["ttft_ms"]) for row in group]) / 1e3,
        )
        for key, group in groups.items()
    ]


def points(*, unseen: bool = False) -> tuple[list[Point], int]:
    """Return all rows with their predictions, and how many are said not to fit.

    Args:
        unseen: Whether each accelerator is predicted as if nobody had measured its family.
    """
    found: list[Point] = []
    refused = 0
    for one in _unseen(deployments()) if unseen else deployments():
        replica = replica_of(one.request)
        if isinstance(replica, Infeasible):
            refused += len(one.users)
            continue
        outlook = closed_loop(replica, one.users, 0.95)
        found += [
            Point(
                deployment=one,
                users=float(one.users[i]),
                tpot_s=float(one.tpot_s[i]),
                ttft_s=float(one.ttft_s[i]),
                predicted_tpot_s=float(outlook.tpot_mean_s[i]),
                predicted_ttft_s=float(outlook.ttft_mean_s[i]),
                rate=float(outlook.rate[i]),
            )
            for i in range(len(one.users))
        ]
    return found, refused


def _unseen(asked: list[Deployment]) -> list[Deployment]:
    return [
        replace(one, request=replace(one.request, accelerator=unmeasured(one.request.accelerator)))
        for one in asked
    ]


def tpot(found: list[Point]) -> list[Pair]:
    """Return predicted and measured TPOT."""
    return [
        Pair(
            group=p.deployment.group,
            predicted=p.predicted_tpot_s,
            measured=p.tpot_s,
            held_out=p.deployment.held_out,
        )
        for p in found
    ]


def gb200(found: list[Point]) -> list[Pair]:
    """Return TPOT of the GB200's rows by model, engine, devices and precision."""
    pairs = []
    for p in found:
        request = p.deployment.request
        if request.accelerator.name == "nvidia-gb200":
            dtype = request.engine.weight_dtype
            group = (
                f"{request.geometry.name}, {request.engine.name}, "
                f"{request.parallelism.devices} devices, {'16 bit' if dtype == 'none' else dtype}"
            )
            pairs.append(Pair(group=group, predicted=p.predicted_tpot_s, measured=p.tpot_s))
    return pairs


def ttft(found: list[Point]) -> list[Pair]:
    """Return predicted and measured TTFT of the rows below saturation."""
    return [
        Pair(
            group=p.deployment.group,
            predicted=p.predicted_ttft_s,
            measured=p.ttft_s,
            held_out=p.deployment.held_out or p.deployment.other_client,
        )
        for p in found
        if p.below_saturation
    ]


def rates(found: list[Point]) -> list[Pair]:
    """Return predicted and measured requests per second, on one node."""
    return [
        Pair(group=p.deployment.group, predicted=p.rate, measured=p.served)
        for p in found
        if p.deployment.request.parallelism.devices <= _NODE
    ]


def calibrated_tpot(found: list[Point]) -> list[Pair]:
    """Return TPOT after three rows of the same replica and engine version.

    They teach the three factors on its step times as replicas do that serve; the other rows are
    scored.
    """
    groups: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for p in found:
        groups[p.deployment.key, p.deployment.version].append(p)
    pairs = []
    for group in groups.values():
        if len(group) <= CALIBRATION_ROWS:
            continue
        group.sort(key=lambda p: crc32(f"{p.users} {p.deployment.request.shape}".encode()))
        learnt, rest = group[:CALIBRATION_ROWS], group[CALIBRATION_ROWS:]
        scales = fitted([Measurement(predict=_tpot_of(p), measured=p.tpot_s) for p in learnt])
        pairs += [
            Pair(
                group=p.deployment.group,
                predicted=_tpot_of(p)(scales),
                measured=p.tpot_s,
            )
            for p in rest
        ]
    return pairs


def _tpot_of(point: Point) -> Callable[[StepScales], float]:
    """Return the TPOT of a row for what is believed of its replica's step times."""
    replica = replica_of(point.deployment.request)
    assert not isinstance(replica, Infeasible)

    def predict(scales: StepScales) -> float:
        believed = replace(replica, step=stretched(replica.step, scales))
        return float(closed_loop(believed, np.array([point.users]), 0.95).tpot_mean_s[0])

    return predict


def ranked(found: list[Point]) -> list[tuple[float, bool]]:
    """Return pairs of accelerators: how far apart their costs are, and whether the order is right.

    A pair differs in nothing but the accelerator: one model in one precision, one engine in one
    version, split alike, under the same load. What was measured more than once counts once, with
    its median. Cost is the on-demand price at one provider that lists both, over tokens per second.
    """
    groups: dict[tuple[object, ...], dict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for p in found:
        request = p.deployment.request
        price = device_price(
            request.accelerator.name, CapacityType.ON_DEMAND, provider=_PROVIDER.lower()
        )
        if price is None or _PROVIDER not in price.source:
            continue
        usd = math.log(price.usd_per_hour)
        replica = request.geometry.name, request.engine, request.parallelism, p.deployment.version
        groups[*replica, request.shape, p.users][request.accelerator.name].append(
            (usd - math.log(p.served), usd - math.log(p.rate))
        )
    pairs = []
    for group in groups.values():
        costs = [
            tuple(float(np.median(values)) for values in zip(*rows, strict=True))
            for rows in group.values()
        ]
        pairs += list(combinations(costs, 2))
    return [(abs(a[0] - b[0]), (a[0] < b[0]) == (a[1] < b[1])) for a, b in pairs]


def _held_out(key: str, request: CapacityRequest) -> bool:
    """Integer experts on Blackwell ran in one deployment, so its constant could not be checked."""
    only_one = request.accelerator.family == "blackwell" and request.engine.weight_dtype == "int4"
    return crc32(key.encode()) % 3 == 0 and not only_one


def _request(row: dict[str, str]) -> CapacityRequest:
    geometry = geometries.get(row["model_path"])
    assert geometry is not None, row["model_path"]
    devices, ranks = _spread(row, latent=bool(geometry.kv_lora_rank))
    question = Question(
        model=row["model_path"],
        accelerator=row["system"],
        quantization=_quantization(row),
        tensor_parallel=max(devices // ranks, 1),
        expert_parallel=devices if ranks > 1 else 1,
        engine=row["backend"],
        input_tokens=float(row["isl"]),
        output_tokens=float(row["osl"]),
        max_num_seqs=8192,
        max_num_batched_tokens=8192,
    )
    return request_of(question, (), LatencyTargets())


def _spread(row: dict[str, str], *, latent: bool) -> tuple[int, int]:
    """Return devices, and over how many of them attention runs side by side.

    Where experts are split over one node the source multiplies both degrees (16 for 4 devices, 64
    for 8: nothing served by 64 devices would be as slow); outside NVL72 we divide that out.
    """
    devices, experts = max(int(row["tp_size"]), 1), max(int(row["moe_ep_size"] or 1), 1)
    ranks = max(int(row["attention_dp_size"] or 1), 1)
    if devices > _NODE and experts > 1 and not row["system"].startswith("gb"):
        return devices // experts, 1
    if devices == 1:
        return experts, experts  # without tensor parallelism
    if latent and devices > _NODE:
        return devices, devices  # latent attention is not split over more than a node
    return devices, min(ranks, devices)


def _quantization(row: dict[str, str]) -> str:
    if "gpt-oss" in row["model_path"]:
        return "none"  # as the checkpoint ships
    return row["gemm_quant_mode"] or {"fp8": "fp8", "fp4": "nvfp4"}.get(row["precision"], "none")
