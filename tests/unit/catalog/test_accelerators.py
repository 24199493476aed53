"""Accelerators are found by their names, and their figures are complete and plausible."""

from importlib import resources
from typing import Any

import pytest
import yaml

from trimtab.api.acceleratorpool import Hardware
from trimtab.catalog import accelerators

ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(
    resources.files("trimtab.catalog").joinpath("data/accelerators.yaml").read_text("utf-8")
)
SOURCES = {"aic", "ix", "aws", "tpu", "nrn", "hab", "amd", "bst", "nv", "mem", "est"}


@pytest.mark.parametrize("name", accelerators.names())
def test_every_figure_has_a_source_and_is_plausible(name: str) -> None:
    figures = {k: v for k, v in ENTRIES[name].items() if isinstance(v, list) and k != "aliases"}
    assert {source for _, source in figures.values()} <= SOURCES
    accelerator = accelerators.get(name)
    assert accelerator is not None
    assert accelerator.name == name
    assert 10e9 < accelerator.memory_bytes < 400e9
    assert 200e9 < accelerator.bandwidth < 10e12
    assert 50e12 < accelerator.bf16_flops < 3e15
    for faster in (accelerator.fp8_flops, accelerator.int8_ops, accelerator.fp4_flops):
        assert faster is None or faster >= accelerator.bf16_flops
    assert accelerator.link_bandwidth < accelerator.bandwidth
    assert accelerator.network_bandwidth is not None
    assert 1e9 <= accelerator.network_bandwidth <= 100e9
    assert accelerator.watts is not None
    assert 60 < accelerator.watts <= 1400


def test_short_names_are_unique_and_lead_to_the_same_device() -> None:
    shorts = [entry["short"] for entry in ENTRIES.values()]
    assert len(set(shorts)) == len(shorts)
    assert accelerators.get("h100") is accelerators.get("nvidia-h100-sxm")
    assert accelerators.get("tpu-v5e") is accelerators.get("google-tpu-v5e")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("h100_sxm", "nvidia-h100-sxm"),
        ("H200-SXM", "nvidia-h200-sxm"),
        ("a100_sxm", "nvidia-a100-80gb-sxm"),
        ("rtx_pro_6000_server", "nvidia-rtx-pro-6000"),
        ("RTX PRO 6000", "nvidia-rtx-pro-6000"),
        ("gb300", "nvidia-gb300"),
        ("trainium2", "aws-trainium2"),
        ("tpu-v7", "google-tpu-v7"),
        ("NVIDIA-H100-80GB-HBM3", "nvidia-h100-sxm"),
        ("NVIDIA A100-SXM4-40GB", "nvidia-a100-40gb-sxm"),
        ("NVIDIA H200", "nvidia-h200-sxm"),
        ("Tesla T4", "nvidia-t4"),
        ("NVIDIA GeForce RTX 4090", "nvidia-rtx-4090"),
        ("AMD Instinct MI300X", "amd-mi300x"),
        ("Intel Gaudi 3", "intel-gaudi3"),
        ("gb200_sxm", "nvidia-gb200"),
        ("v6e", "google-tpu-v6e"),
        ("b60", "intel-arc-pro-b60"),
        ("AMD Instinct MI300X-NPS1-SPX-192GB-750W", "amd-mi300x"),
        ("NVIDIA GH200 Grace Hopper Superchip 144GB", "nvidia-gh200-144gb"),
        ("NVIDIA H200-SXM-141GB-CTS", "nvidia-h200-sxm"),
        ("NVIDIA A100 80GB PCIe", "nvidia-a100-80gb-pcie"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "nvidia-rtx-pro-6000"),
        ("tpu-v5-lite-podslice", "google-tpu-v5e"),
        ("tpu-v5p-slice", "google-tpu-v5p"),
        ("tpu-v6e-slice", "google-tpu-v6e"),
        ("tpu7x-slice", "google-tpu-v7"),
        ("nvidia-h100-mega-80gb", "nvidia-h100-sxm"),
    ],
)
def test_common_spellings_are_understood(spelling: str, name: str) -> None:
    found = accelerators.get(spelling)
    assert found is not None
    assert found.name == name


def test_an_unknown_name_is_none_not_a_guess() -> None:
    for unknown in (
        "nvidia-h1000",
        "nvidia",
        "nvidia-",
        "tesla-x1",
        "h100-96gb",
        "",
        "80gb",
        "server",
        "H100-SXM-40GB",
        "RTX PRO 6000 Max-Q",
        "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
    ):
        assert accelerators.get(unknown) is None


def test_a_pool_may_bring_its_own_figures_at_lower_confidence() -> None:
    hardware = Hardware(memory_gib=48, bandwidth_gbs=1000, bf16_tflops=200, fp8_tflops=400)
    accelerator = accelerators.from_hardware("acme-x1", hardware, "acme.com/npu")
    assert accelerator.memory_bytes == 48 * 2**30
    assert accelerator.bandwidth == 1e12
    assert accelerator.fp8_flops == 400e12
    assert accelerator.link_bandwidth == 32e9
    assert accelerator.family == "generic"
    assert accelerator.resource_name == "acme.com/npu"
    assert accelerator.confidence < accelerators.get("nvidia-h100-sxm").confidence  # type: ignore[union-attr]


def test_power_is_the_pools_own_else_the_catalogues_else_unknown() -> None:
    hardware = Hardware(memory_gib=48, bandwidth_gbs=1000, bf16_tflops=200)
    told = hardware.model_copy(update={"watts": 250})
    assert accelerators.from_hardware("acme-x1", told, "acme.com/npu").watts == 250
    assert accelerators.from_hardware("acme-x1", hardware, "acme.com/npu").watts is None
    assert accelerators.from_hardware("l4", told, "nvidia.com/gpu").watts == 250
    assert accelerators.from_hardware("l4", hardware, "nvidia.com/gpu").watts == 72


def test_confidence_falls_with_unverified_figures_and_unfitted_families() -> None:
    confidence = {name: accelerators.get(name).confidence for name in accelerators.names()}  # type: ignore[union-attr]
    assert confidence["nvidia-h100-sxm"] == 1.0
    assert confidence["nvidia-h100-nvl"] < 1.0
    assert confidence["google-tpu-v5e"] < confidence["nvidia-h100-nvl"]
    for kernels_only in ("nvidia-gb200", "intel-arc-pro-b60"):
        assert confidence[kernels_only] == confidence["google-tpu-v5e"]
