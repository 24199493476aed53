"""Every command in pages and help pages is run, or what it names is there and its flags exist.

Commands of `trimtab` that need no cluster are run, in a folder with the files that pages name. Of
the others the flags are checked against the program itself, files against the repository, values
against the chart, and targets against the Makefile.
"""

import importlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from builders import NOW, planned
from doccommands import ROOT, Command, commands, helped
from toolfiles import CSV, INFERENCE_PERF, STEPS, VLLM
from trimtab.api.crd import KINDS
from trimtab.cli.main import app
from trimtab.config import PlannerConfig
from trimtab.models.codec import Record, dump_record
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan

ALL = list(dict.fromkeys([*commands(), *helped()]))
TRIMTAB = ("trimtab", ".venv/bin/trimtab")
FOREIGN = {"vllm", "source", "export", "git", "ruff", "pytest"}
"""Programs that are not ours, and shell words; nothing of theirs can be checked here."""
LIVE = {"run", "doctor"}
"""Commands that need a cluster whatever they are given."""
KUBECTL = {
    "annotate", "apply", "create", "delete", "describe", "exec", "explain", "get", "label", "logs",
    "patch", "port-forward", "rollout", "trimtab", "wait",
}  # fmt: skip
OTHERS_KINDS = {
    "llm",  # the category of our kinds
    "deploy", "deployment", "lease", "llmdeployments", "namespace", "node", "pod", "pods",
    "pods,lease", "secret", "svc", "service", "events", "configmap",
}  # fmt: skip


def trimtab_words(command: Command) -> tuple[str, ...] | None:
    """Return the arguments of `trimtab`, None for another program."""
    if command.words[0] in TRIMTAB:
        return command.words[1:]
    if command.words[:2] == ("kubectl", "trimtab"):
        return command.words[2:]
    return None


def of(program: str) -> list[Command]:
    return [
        command for command in ALL if command.words[0] == program and trimtab_words(command) is None
    ]


OURS = [command for command in ALL if trimtab_words(command) is not None]


def is_vague(words: Sequence[str]) -> bool:
    """Whether a reader must fill something in."""
    return any("…" in word or re.fullmatch(r"[A-Z]{3,}", word) for word in words)


def needs_no_cluster(command: Command) -> bool:
    words = trimtab_words(command) or ()
    if (
        not command.shown
        or not words
        or is_vague(words)
        or words[0] in LIVE
        or "--install-completion" in words
    ):
        return False
    if words[0] in ("explain", "status", "top"):
        return bool({"-f", "--file", "--record", "--help"} & set(words))
    if words[0] == "simulate":  # a whole scenario takes minutes; these are held by its own tests
        return bool({"--record", "--duration"} & set(words))
    if words[0] in ("plan", "predict"):
        return len(words) > 1
    return words[:2] in (("crds", "check"), ("profile", "import")) or len(words) == 1


# What several pages show is run once.
RUN = list({(c.words[1:], c.piped): c for c in OURS if needs_no_cluster(c)}.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that pages name, in which commands are run."""
    for name in ("examples", "charts", "crds", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "manifests").mkdir()
    for name in ("chatbot", "pools"):
        shutil.copy(ROOT / f"examples/{name}.yaml", tmp_path / "manifests")
    shutil.copy(ROOT / "examples/chatbot.yaml", tmp_path / "chatbot.yaml")
    shutil.copy(ROOT / "examples/pools.yaml", tmp_path / "pools.yaml")
    rows = [f"{second},700,60" for second in range(0, 180, 2)]
    text = "\n".join(["t_s,input_tokens,output_tokens", *rows])
    (tmp_path / "requests.csv").write_text(text)
    question = "model,accelerator,input_tokens,output_tokens,concurrency"
    (tmp_path / "in.csv").write_text(f"{question}\nQwen/Qwen3-8B,l40s,500,100,4\n")
    geometry = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "vocab_size": 128256, "head_dim": 128, "tie_word_embeddings": False,
        "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(geometry))
    for name in ("result.json", "result-1.json"):
        (tmp_path / name).write_text(json.dumps(VLLM))
    (tmp_path / "stage_0_lifecycle_metrics.json").write_text(json.dumps(INFERENCE_PERF))
    (tmp_path / "points.csv").write_text(CSV)
    (tmp_path / "steps.csv").write_text(STEPS)
    shutil.copy(ROOT / "examples/pools.yaml", tmp_path / "change.yaml")
    snapshot, config = Snapshot(now=NOW, deployments=(planned(),), pools=()), PlannerConfig()
    record = Record(snapshot=snapshot, config=config, plan=plan(snapshot, config))
    (tmp_path / "decisions.jsonl").write_bytes(dump_record(record))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def live_objects() -> str:
    """What `kubectl get llmd,… -A -o yaml` prints where nothing was decided yet."""
    chat = next(yaml.safe_load_all((ROOT / "examples/chatbot.yaml").read_text()))
    chat["metadata"]["name"] = "chat"
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [chat | {"status": {}}]})


def test_commands_are_found_and_many_of_them_need_no_cluster() -> None:
    assert len(ALL) > 60
    assert len(RUN) > 15


@pytest.mark.parametrize("command", RUN, ids=str)
def test_a_command_that_needs_no_cluster_works(command: Command, folder: Path) -> None:
    words: list[str] = []
    for word in trimtab_words(command) or ():
        words += sorted(str(path) for path in folder.glob(word)) if "*" in word else [word]
    result = CliRunner().invoke(app, words, input=live_objects() if command.piped else None)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_of_ours_has_the_flags_that_it_is_given(command: Command) -> None:
    check_flags(app, trimtab_words(command) or ())


def check_flags(program: Any, words: Sequence[str]) -> None:
    """Fail where a subcommand or a flag does not exist."""
    current: Any = typer.main.get_command(program)
    context = current.make_context("x", [], resilient_parsing=True)
    words = [word for word in words if "…" not in word]
    while words and words[0] in getattr(current, "commands", {}):
        current = current.commands[words.pop(0)]
        context = type(context)(current, info_name="x", resilient_parsing=True)
    known = {
        flag
        for param in current.get_params(context)
        for flag in (*param.opts, *param.secondary_opts)
    }
    for word in words:
        flag = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", flag):
            assert flag in known, f"{flag} is none of {sorted(known)}"
    if getattr(current, "commands", None) and words:
        assert words[0].startswith("-"), f"there is no subcommand {words[0]}"


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_a_make_target_exists(command: Command) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for word in command.words[1:] if "=" not in word and word != "…"}
    assert named <= targets


@pytest.mark.parametrize("command", of("helm"), ids=str)
def test_a_helm_command_names_our_chart_and_values_that_it_has(command: Command) -> None:
    words = command.words[1:]
    assert words[0] in {"install", "upgrade", "uninstall", "rollback", "test", "template", "lint"}
    for chart in (word for word in words if word.startswith(("charts/", "./charts/"))):
        assert (ROOT / chart / "Chart.yaml").exists()
    values = yaml.safe_load((ROOT / "charts/trimtab/values.yaml").read_text())
    for setting in (words[at + 1] for at, word in enumerate(words) if word == "--set"):
        found: Any = values
        for key in setting.partition("=")[0].split("."):
            assert key in found, f"{setting}: values.yaml has no {key}"
            found = found[key]


@pytest.mark.parametrize("command", of("kubectl"), ids=str)
def test_a_kubectl_command_names_verbs_kinds_and_files_that_exist(command: Command) -> None:
    words = list(command.words[1:])
    while words and words[0].startswith("-"):  # kubectl -n NAMESPACE get …
        words = words[2:]
    assert words[0] in KUBECTL, words[0]
    for file in (words[at + 1] for at, word in enumerate(words) if word == "-f"):
        made_by_reader = file in ("-", "manifests/", "profile.yaml", "chat.yaml", "chatbot.yaml")
        assert made_by_reader or (ROOT / file).exists(), file
    if words[0] in ("create", "get", "describe", "annotate", "patch", "delete", "label", "logs"):
        kinds = {name for kind in KINDS for name in (kind.PLURAL, kind.SINGULAR, *kind.SHORT_NAMES)}
        asked = next((word for word in words[1:] if not word.startswith("-")), "")
        assert asked or not command.shown, "a reader must be told of what"
        for kind in asked.partition("/")[0].split(",") if asked else ():
            assert kind in kinds | OTHERS_KINDS, kind


@pytest.mark.parametrize("command", of("docker"), ids=str)
def test_an_image_can_be_built_here(command: Command) -> None:
    assert command.words[1] in ("build", "push")
    assert (ROOT / "Dockerfile").exists()


def test_nothing_else_is_asked_of_a_reader() -> None:
    checked = {"make", "helm", "kubectl", "docker", *TRIMTAB}
    for command in ALL:
        program = command.words[0]
        if program.endswith("python"):
            assert command.words[1] == "-m", str(command)
            module = importlib.import_module(command.words[2])
            if hasattr(module, "app"):
                check_flags(module.app, command.words[3:])
        else:
            assert program in checked | FOREIGN, str(command)
