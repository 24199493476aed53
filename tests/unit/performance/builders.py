"""Requests of a replica with complete defaults, overridden by keyword."""

from typing import TypedDict, Unpack

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.performance.capacity import CapacityRequest
from trimtab.performance.profiles import MeasuredPoint


class RequestFields(TypedDict, total=False):
    shape: TokenShape
    targets: LatencyTargets
    engine: EngineSettings
    points: tuple[MeasuredPoint, ...]
    tensor: int


def accelerator(name: str = "h100") -> Accelerator:
    found = accelerators.get(name)
    assert found is not None, name
    return found


def geometry(name: str = "Llama-3.1-8B") -> ModelGeometry:
    found = geometries.get(name)
    assert found is not None, name
    return found


def request(
    model: str = "Llama-3.1-8B", device: str = "h100", **fields: Unpack[RequestFields]
) -> CapacityRequest:
    return CapacityRequest(
        geometry=geometry(model),
        accelerator=accelerator(device),
        parallelism=Parallelism(tensor=fields.get("tensor", 1)),
        engine=fields.get("engine", EngineSettings()),
        shape=fields.get("shape", TokenShape(input_tokens=512, output_tokens=256)),
        targets=fields.get("targets", LatencyTargets()),
        points=fields.get("points", ()),
    )
