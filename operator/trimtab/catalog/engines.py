"""How each serving engine is started, probed and scraped: data, one file per engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.engine import EngineType

Version = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of the server's command."""

    text: str
    """With placeholders in braces; left out where one of them has no value."""
    when: str | None = None
    """A value without which it is left out, beside those that it names."""
    each: str | None = None
    """What it is repeated for: adapter."""
    since: Version | None = None
    """The first release that knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The process of one engine."""

    image: str
    """Default image; empty where the user has to name one."""
    images: Mapping[str, str]
    """Images for devices that the default does not know, by resource name."""
    command: tuple[str, ...]
    """Empty for the image's own entry point."""
    arguments: tuple[Argument, ...]
    environment: Mapping[str, str]
    """Variables, with `{cache}` for the folder of the weights."""
    port: int
    """Where it listens if it is not told otherwise."""
    user: int | None
    """Ready-made user of its image for NVIDIA devices, or None."""
    health: str
    """Path that answers 200 once it serves."""
    page: str
    """Path of its metrics."""
    drain: str
    """What it does when it is asked to end, in words."""


@cache
def document(engine: EngineType) -> Mapping[str, Any]:
    """Return the data file of `engine`; its keys are explained by who reads them."""
    file = resources.files(__package__).joinpath("engines", f"{engine.value}.yaml")
    data: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return data


@cache
def server(engine: EngineType) -> Server:
    """Return how `engine` is run."""
    data = document(engine)["server"]
    return Server(
        image=data["image"],
        images=data["images"],
        command=tuple(data["command"]),
        arguments=tuple(_argument(each) for each in data["arguments"]),
        environment=data["environment"],
        port=data["port"],
        user=data.get("user"),
        health=data["health"],
        page=data["page"],
        drain=data["drain"],
    )


def _argument(entry: str | Mapping[str, str]) -> Argument:
    if isinstance(entry, str):
        return Argument(text=entry)
    since = entry.get("since")
    major, _, minor = (since or "").partition(".")
    return Argument(
        text=entry["argument"],
        when=entry.get("when"),
        each=entry.get("each"),
        since=(int(major), int(minor)) if since else None,
    )
