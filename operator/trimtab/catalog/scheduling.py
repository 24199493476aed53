"""Whether an engine takes turns with its device, by the image and the arguments that are asked for.

Then it schedules a step only once the last one's tokens are there, and the device waits for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.api.engine import EngineSpec, EngineType
from trimtab.catalog.engines import Version, server

_VERSION_TAG = re.compile(r":v?(\d+)\.(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Habit:
    """When an engine schedules ahead."""

    since: Version
    """The first release that does unless told otherwise; every one where the first is (0, 0)."""
    ahead: str | None
    """The argument that asks for it, and the one that forbids it."""
    in_turns: str


_HABITS: Mapping[EngineType, _Habit] = {
    # vLLM's release notes and `vllm serve --help`; async scheduling is the default from 0.14.
    EngineType.VLLM: _Habit(
        since=(0, 14), ahead="--async-scheduling", in_turns="--no-async-scheduling"
    ),
    # SGLang's server arguments: its overlap scheduler can only be switched off.
    EngineType.SGLANG: _Habit(since=(0, 0), ahead=None, in_turns="--disable-overlap-schedule"),
}


def takes_turns(engine: EngineSpec) -> bool:
    """Return whether the engine that `engine` asks for schedules only between two steps.

    A release that no tag names is taken for a recent one.
    """
    kind = engine.type or EngineType.VLLM
    habit = _HABITS.get(kind)
    if habit is None:
        return False
    arguments = engine.args or ()
    if habit.in_turns in arguments or habit.ahead in arguments:
        return habit.in_turns in arguments
    version = release(engine.image or server(kind).image)
    return version is not None and version < habit.since


def release(image: str) -> Version | None:
    """Return the release that the tag of `image` names, or None when it names none."""
    match = _VERSION_TAG.search(image.rpartition("/")[2])
    return (int(match.group(1)), int(match.group(2))) if match else None
