"""What a model's name on the hub says: which of the known names it is, and how it is stored."""

import re
from collections.abc import Iterator, Set
from functools import lru_cache

_ROLE = (
    r"instruct|chat|it|hf|base|text|think|thinking|reasoner|preview|exp|pt|sft|dpo|rlhf|orpo"
    r"|tool|latest|abliterated|uncensored|unsloth"
)
_STORAGE = (
    r"fp8|fp16|bf16|fp4|nvfp4|nvfp4a16|mxfp4|awq|gptq|autoround|marlin|int4|int8|[48]bit|w4a16|w8a8|w8a16"
    r"|w4a8|quantized|quant|gguf|q[2-8]|bnb|static|dynamic|block|kv|channel|pertensor|tensor|per|g128|128g"
)
_RELEASE = r"v[0-9]+(\.[0-9]+)*|2[0-9]{3}|[01][0-9]{3}|20[0-9]{6}|[0-9]{1,4}k|1m"
_NOISE = re.compile(f"({_ROLE}|{_STORAGE}|{_RELEASE})")
"""Words that name a training, a storage type, a release, a date or a context length, and no other
geometry. Longer names are looked up first, so that "DeepSeek-V3" stays what it is."""

_MAKERS = frozenset({"meta", "nvidia", "ai21", "tencent", "c4ai", "ibm", "google", "microsoft"})
"""Organisations that some names repeat in front."""
_SIZE = re.compile(r"(a|e)?[0-9]+(\.[0-9]+)?[bmt]|[0-9]+x[0-9]+b|[0-9]+b[0-9]+")
_COUNT = re.compile(r"(a?)([0-9]+(?:\.[0-9]+)?)([mbt])")
_PRODUCT = re.compile(r"([0-9]+)x([0-9]+(?:\.[0-9]+)?)b")
_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}
_MIXED = 0.83
"""Mixtral-8x7B has 46.7 billion of 56, 8x22B 141 of 176: what is no expert is there once."""
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)?")
_GLUED = re.compile(r"([a-z]{2,})([0-9]+(?:\.[0-9]+)?)")
_GGUF = re.compile(r"[-.](q[2-8])(_[a-z0-9]+)*(\.gguf)?$")
"""Endings of llama.cpp's files, such as Q4_K_M: only the bits count."""
_OTHERS = frozenset(
    {
        "adapter", "asr", "audio", "draft", "eagle", "eagle2", "eagle3", "embed", "embedding",
        "encoder", "guard", "lora", "medusa", "minitron", "mtp", "omni", "prune", "pruned",
        "reranker", "reward", "rm", "speculator", "tts", "vision", "vl",
    }
)  # fmt: skip
"""Words of models that share a name with a known one and not its geometry."""

_IMPLIED = (
    (r"bf16|fp16", "none"),
    (r"nvfp4|nvfp4a16|fp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"awq", "awq"),
    (r"gptq", "gptq"),
    (r"fp8", "fp8"),
    (r"w8a8|w8a16|int8|8bit|q8", "int8"),
    (r"w4a16|w4a8|int4|4bit|autoround|bnb|q4", "int4"),
)


def words_of(model_name: str) -> tuple[str, ...]:
    """Return the words of a name without its organisation, in lower case.

    "Qwen/Qwen2.5-7B-Instruct", "qwen-2.5-7b_instruct" and "qwen2.5-7b-instruct" are the same.
    """
    bare = model_name.split("@")[0].strip().rstrip("/").split("/")[-1].lower().replace(":", "-")
    bare = _GGUF.sub(r"-\1", bare)
    bare = re.sub(r"(?<=[0-9])_(?=[0-9])", ".", bare)
    bare = re.sub(r"\.(?=[a-z])", "-", bare)
    parts = [part for part in re.split(r"[-_\s]+", bare) if part]
    words: list[str] = []
    for part in parts[1:] if len(parts) > 1 and parts[0] in _MAKERS else parts:
        glued = None if _NOISE.fullmatch(part) else _GLUED.fullmatch(part)
        words.extend(glued.groups() if glued else (part,))
    return tuple(words)


def candidates(model_name: str) -> Iterator[tuple[str, ...]]:
    """Yield what the words of `model_name` may be known as, the most telling first.

    Never another size: numbers of parameters stay where they are.
    """
    words = words_of(model_name)
    ends = [len(words)]
    while ends[-1] > 1 and _NOISE.fullmatch(words[ends[-1] - 1]):
        ends.append(ends[-1] - 1)
    yield from (words[:end] for end in ends)
    yield from (tuple(w for w in words[:end] if not _NOISE.fullmatch(w)) for end in ends)


def base_within(model_name: str, known: Set[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the known name that stands in the name of a derived model, the longest one, or None.

    Such as Llama-3.1-8B in "acme/support-Llama-3.1-8B-v2". It must state a version and a size, and
    the rest neither another size nor a kind of model that is built differently.
    """
    words = words_of(model_name)
    for length in range(len(words) - 1, 2, -1):
        for start in range(len(words) - length + 1):
            inner = words[start : start + length]
            rest = words[:start] + words[start + length :]
            if inner in known and _is_telling(inner) and not _is_different(rest):
                return inner
    return None


@lru_cache(maxsize=4096)
def implied_quantization(model_name: str) -> str | None:
    """Return how the weights are stored by the end of the name, a value of api Quantization.

    "-AWQ", "-FP8-dynamic", "-quantized.w4a16" and "-BF16" say so; None where the name says nothing.
    """
    words = words_of(model_name)[1:]
    for pattern, quantization in _IMPLIED:
        if any(re.fullmatch(pattern, word) for word in words):
            return quantization
    return None


def named_quantization(label: str) -> str | None:
    """Return what a name of a quantisation itself says, a value of api Quantization.

    Such as "fp8_e4m3", "awq_marlin" and "w4a16"; None where it says nothing.
    """
    # The first word of a model's name is never looked at, and this one says nothing of storage.
    return implied_quantization(f"it-{label}")


def sizes_of(model_name: str) -> tuple[float, float] | None:
    """Return the parameters that `model_name` states, in all and used for one token, or None.

    "Foo-14B" has as many of both, "Foo-30B-A3B" three billion for one token, and "Foo-8x7B" two of
    eight experts, which share a fifth of what their product says (Mixtral).
    """
    whole: list[float] = []
    active: list[float] = []
    for word in words_of(model_name):
        if (product := _PRODUCT.fullmatch(word)) is not None:
            count, each = int(product[1]), float(product[2]) * 1e9
            whole.append(_MIXED * count * each)
            active.append(_MIXED * min(count, 2) * each)
        elif (size := _COUNT.fullmatch(word)) is not None:
            number = float(size[2]) * _UNITS[size[3]]
            (active if size[1] else whole).append(number)
    if not whole or max(whole) <= 0.0:
        return None
    total = max(whole)
    return total, min([*active, total])


def _is_telling(words: tuple[str, ...]) -> bool:
    return any(_SIZE.fullmatch(word) for word in words) and any(
        _VERSION.fullmatch(word) for word in words
    )


def _is_different(rest: tuple[str, ...]) -> bool:
    return any(_SIZE.fullmatch(word) or word in _OTHERS for word in rest)
