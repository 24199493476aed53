"""How a `config.json` says that its weights are stored."""

from collections.abc import Mapping
from typing import Any

from trimtab.catalog.hubnumbers import number
from trimtab.catalog.modelnames import named_quantization
from trimtab.errors import InvalidInput

_BY_BITS = {
    (8, "float"): "fp8", (4, "float"): "nvfp4", (8, "int"): "int8", (4, "int"): "int4",
}  # fmt: skip


def native_dtype(config: Mapping[str, Any]) -> str:
    """Return how the weights are stored, a value of api Quantization; "none" is 16 bit.

    Raises:
        InvalidInput: They are quantised, and how wide they are cannot be told.
    """
    stored = config.get("quantization_config")
    if not isinstance(stored, Mapping) or not stored:
        return "none"
    method = str(stored.get("quant_method"))
    if method == "modelopt":
        return "fp8" if "FP8" in str(stored.get("quant_algo")) else "nvfp4"
    if method == "compressed-tensors":
        return _compressed(stored)
    if method == "bitsandbytes":
        return "int8" if stored.get("load_in_8bit") else "int4"
    named = named_quantization(method)
    bits = int(number(stored, "bits", "w_bit", "weight_bits", "nbits"))
    dtype = "int8" if bits == 8 and named != "fp8" else named or _BY_BITS.get((bits, "int"))
    if dtype is None:
        raise InvalidInput(
            "config.json: quantization_config",
            f"{method!r} does not say how wide weights are",
            "Leave it out of the config, and say the quantization",
        )
    return dtype


def _compressed(stored: Mapping[str, Any]) -> str:
    """The first group of layers decides: vLLM's compressor rarely writes a second one."""
    groups = stored.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            return _BY_BITS.get((weights.get("num_bits", 0), str(weights.get("type"))), "none")
    return "none"
