"""How a `config.json` says that its weights are stored."""

from collections.abc import Mapping
from typing import Any

_BY_METHOD = {
    "awq": "awq", "fbgemm_fp8": "fp8", "fp8": "fp8", "gptq": "gptq", "mxfp4": "mxfp4",
}  # fmt: skip
_BY_BITS = {
    (8, "float"): "fp8", (4, "float"): "nvfp4", (8, "int"): "int8", (4, "int"): "int4",
}  # fmt: skip


def native_dtype(config: Mapping[str, Any]) -> str:
    """Return how the weights are stored, a value of api Quantization; "none" is 16 bit."""
    stored = config.get("quantization_config")
    if not isinstance(stored, Mapping):
        return "none"
    method = str(stored.get("quant_method"))
    if method == "modelopt":
        return "fp8" if "FP8" in str(stored.get("quant_algo")) else "nvfp4"
    if method == "compressed-tensors":
        return _compressed(stored)
    if method == "bitsandbytes":
        return "int8" if stored.get("load_in_8bit") else "int4"
    return _BY_METHOD.get(method, "none")


def _compressed(stored: Mapping[str, Any]) -> str:
    """The first group of layers decides: vLLM's compressor rarely writes a second one."""
    groups = stored.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            return _BY_BITS.get((weights.get("num_bits", 0), str(weights.get("type"))), "none")
    return "none"
