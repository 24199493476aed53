"""Engines that take turns with their device are known by release and arguments."""

import pytest

from trimtab.api.engine import EngineSpec, EngineType
from trimtab.catalog.scheduling import release, takes_turns


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("vllm/vllm-openai:v0.33.0", (0, 33)),
        ("localhost:5000/vllm:0.9", (0, 9)),
        ("vllm/vllm-openai-rocm:v0.23.0-x", (0, 23)),
        ("vllm/vllm-openai@sha256:0123", None),
        ("localhost:5000/vllm", None),
        ("vllm/vllm-openai:nightly", None),
    ],
)
def test_the_release_is_what_the_tag_says(image: str, expected: tuple[int, int] | None) -> None:
    assert release(image) == expected


@pytest.mark.parametrize(
    ("image", "arguments", "expected"),
    [
        (None, [], False),
        ("vllm/vllm-openai:v0.14.0", [], False),
        ("vllm/vllm-openai:v0.13.1", [], True),
        ("vllm/vllm-openai:v0.13.1", ["--async-scheduling"], False),
        ("vllm/vllm-openai:v0.33.0", ["--no-async-scheduling"], True),
        ("vllm/vllm-openai:nightly", [], False),
    ],
)
def test_vllm_takes_turns_before_0_14_or_where_it_is_told_to(
    image: str | None, arguments: list[str], expected: bool
) -> None:
    assert takes_turns(EngineSpec(image=image, args=arguments)) is expected


def test_other_engines_do_where_their_own_argument_says_so() -> None:
    overlapped = EngineSpec(type=EngineType.SGLANG, image="lmsysorg/sglang:v0.4.1")
    assert not takes_turns(overlapped)
    told = overlapped.model_copy(update={"args": ["--disable-overlap-schedule"]})
    assert takes_turns(told)
    assert not takes_turns(EngineSpec(type=EngineType.TGI, args=["--no-async-scheduling"]))
