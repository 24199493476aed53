"""What engines, checkpoints and tools call the ways to store weights, keys and values."""

from trimtab.catalog.modelnames import implied_quantization, named_quantization

_WEIGHTS = {
    "auto": "none", "bfloat16": "none", "float16": "none", "mxfp8": "fp8", "w4a4": "nvfp4",
    "w4afp8": "int4", "bitsandbytes": "int4", "smoothquant": "int8", "sq": "int8",
}  # fmt: skip
"""What no name of a model says."""
_CONTAINERS = frozenset({"compressed_tensors", "gguf", "modelopt", "quark", "torchao"})
"""Ways to store weights of any width: the name of the model may say which."""
_CACHES = {
    "none": "auto", "bf16": "auto", "fp16": "auto", "bfloat16": "auto", "float16": "auto",
    "fp8_e4m3": "fp8", "fp8_e4m3fn": "fp8", "fp8_e4m3fnuz": "fp8", "fp8_e5m2": "fp8",
    "fp8_ds_mla": "fp8", "fp8_inc": "fp8", "int8": "fp8",
}  # fmt: skip
"""Others of the same width."""


def weights_called(label: str, model_name: str) -> str:
    """Return the value of api Quantization that `label` means, of weights of `model_name`.

    Where it says nothing of their width, as "none" and "gguf", the name of the model may. What
    nobody knows is returned as it is, in lower case.
    """
    plain = _plain(label)
    spelt = _WEIGHTS.get(plain, plain)
    if spelt == "none" or spelt in _CONTAINERS:
        return implied_quantization(model_name) or spelt
    return named_quantization(spelt) or spelt


def cache_called(label: str) -> str:
    """Return the value of api KVCacheDtype that `label` means, or `label` itself in lower case."""
    plain = _plain(label)
    return _CACHES.get(plain, plain)


def _plain(label: str) -> str:
    return label.strip().lower().replace("-", "_")
