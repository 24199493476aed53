"""The options that name one replica, written once for all commands that ask about one."""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from trimtab.api.llmdeployment import KVCacheDtype, Quantization
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput
from trimtab.models.hardware import ModelGeometry
from trimtab.models.snapshot import Profile
from trimtab.performance.question import Question

_QUANTIZATIONS = ", ".join(Quantization)
_KV_DTYPES = ", ".join(KVCacheDtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """What the user said of a replica. The annotations are the options."""

    model: Annotated[str | None, typer.Option(help="As on the Hugging Face hub.")] = None
    accelerator: Annotated[str | None, typer.Option(help="Name of the accelerator.")] = None
    quantization: Annotated[
        str,
        typer.Option(
            help=f"How weights are stored: {_QUANTIZATIONS}, or what an engine calls these; "
            "none: as the name says."
        ),
    ] = Quantization.NONE.value
    kv_dtype: Annotated[
        str,
        typer.Option(
            "--kv-dtype",
            help=f"How keys and values are stored: {_KV_DTYPES}, or what an engine calls these.",
        ),
    ] = KVCacheDtype.AUTO.value
    tensor_parallel: Annotated[
        int, typer.Option("--tensor-parallel", "--tp", min=1, help="Devices.")
    ] = 1
    pipeline_parallel: Annotated[
        int, typer.Option("--pipeline-parallel", "--pp", min=1, help="Stages.")
    ] = 1
    expert_parallel: Annotated[
        int, typer.Option("--expert-parallel", "--ep", min=1, help="Devices sharing the experts.")
    ] = 1
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm"
    input_tokens: Annotated[float, typer.Option(min=1, help="Mean prompt length.")] = 512
    output_tokens: Annotated[float, typer.Option(min=1, help="Mean answer length.")] = 256
    prefix_hit: Annotated[float, typer.Option(min=0, max=1, help="Cached share of prompts.")] = 0
    spread: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Deviation of both lengths over their means. Default: 0, of a capacity 1.",
        ),
    ] = None
    max_num_seqs: Annotated[
        int | None, typer.Option(min=1, help="Largest batch. Default: vLLM's own.")
    ] = None
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of one step. Default: vLLM's own.")
    ] = None
    max_model_len: Annotated[
        int | None, typer.Option(min=2, help="Longest prompt and answer. Default: just these.")
    ] = None
    draft_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens that speculation proposes in each step.")
    ] = 0
    accepted_tokens: Annotated[
        float, typer.Option(min=0, help="How many of them are kept, on average.")
    ] = 0
    config: Annotated[
        Path | None, typer.Option(help="config.json of the model; wins over the catalogue.")
    ] = None
    profile: Annotated[
        list[Path] | None, typer.Option(help="PerformanceProfile manifests to learn from.")
    ] = None

    def question(
        self,
        spread: float = 0.0,
        *,
        concurrency: float | None = None,
        request_rate: float | None = None,
    ) -> Question:
        """Return the question under a concurrency or a request rate, or none yet.

        Raises:
            InvalidInput: The model, the accelerator or a readable --config is missing.
        """
        return Question(
            model=_required(self.model, "--model"),
            accelerator=_required(self.accelerator, "--accelerator"),
            quantization=self.quantization,
            kv_dtype=self.kv_dtype,
            tensor_parallel=self.tensor_parallel,
            pipeline_parallel=self.pipeline_parallel,
            expert_parallel=self.expert_parallel,
            engine=self.engine,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            prefix_hit=self.prefix_hit,
            spread=spread if self.spread is None else self.spread,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
            geometry=self.geometry(),
            concurrency=concurrency,
            request_rate=request_rate,
        )

    def geometry(self) -> ModelGeometry | None:
        """Return the geometry in --config, None without one."""
        return None if self.config is None else read_config(self.config)

    def profiles(self) -> tuple[Profile, ...]:
        """Return the profiles in --profile."""
        return read_profiles(self.profile or ())


def with_replica_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with a ReplicaOptions as its keyword `asked`, filled from the options."""
    own = inspect.signature(command, eval_str=True)
    names = [field.name for field in fields(ReplicaOptions)]

    @wraps(command)
    def run(**values: Any) -> None:
        asked = ReplicaOptions(**{name: values.pop(name) for name in names})
        command(**values, asked=asked)

    shared = inspect.signature(ReplicaOptions, eval_str=True).parameters.values()
    mine = [p for name, p in own.parameters.items() if name != "asked"]
    signature = own.replace(parameters=_keywords([*mine, *shared]))
    # typer reads both; wraps() copied those of the command alone.
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def read_profiles(paths: Iterable[Path]) -> tuple[Profile, ...]:
    """Return the PerformanceProfiles in the YAML files `paths`.

    Raises:
        InvalidInput: A file cannot be read or holds anything else.
    """
    profiles = []
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
            found = [PerformanceProfile.model_validate(document) for document in documents]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            raise InvalidInput(
                "--profile", f"{path} is no PerformanceProfile: {error}", "Give its manifest"
            ) from error
        profiles += [Profile(name=one.metadata.name, spec=one.spec) for one in found]
    return tuple(profiles)


def read_config(path: Path) -> ModelGeometry:
    """Return the geometry in the `config.json` at `path`.

    Raises:
        InvalidInput: It cannot be read or describes no model.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("--config", f"cannot read {path}", "Give a config.json") from error
    if not isinstance(document, dict):
        raise InvalidInput("--config", f"{path} holds no object", "Give the config.json of a model")
    return from_config(path.stem, document)


def _keywords(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]


def _required(value: str | None, option: str) -> str:
    if value is None:
        raise InvalidInput(option, "is missing", "Name it, or ask a file of questions with --batch")
    return value
