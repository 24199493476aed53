"""Scenario files: those of the examples are whole, and a mistake is named with its remedy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bodies import pool_manifest
from trimtab.config import PlannerConfig
from trimtab.errors import InvalidInput
from trimtab.models.plan import Why
from trimtab.models.snapshot import Key
from trimtab.planner.offline import snapshot_of
from trimtab.planner.plan import plan
from trimtab.simulate.inputs.read import History
from trimtab.simulate.scenario import load_scenario, scenario_of, traffic_of

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples" / "scenarios").glob("*.yaml"))

POOL = pool_manifest("h100", "nvidia-h100-sxm", "2.50", capacity={"maxDevices": 16})
CHAT: dict[str, Any] = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "chat", "namespace": "assistants"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "latency": {"timeToFirstToken": "1s"},
    },
}
SHAPE: dict[str, Any] = {
    "shape": "steady",
    "rate": 5,
    "inputTokens": {"mean": 100},
    "outputTokens": {"mean": 10},
}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "about": "A test.",
        "duration": "10m",
        "manifests": [POOL, CHAT],
        "traffic": [{"deployment": "assistants/chat", "source": {"synthetic": SHAPE}}],
        **changes,
    }


def test_there_are_the_promised_scenarios() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_planned_and_has_requests(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.seeds == 3
    snapshot, _ = snapshot_of(scenario.manifests, 0.0)
    decisions = plan(snapshot, PlannerConfig()).decisions
    assert {decision.key for decision in decisions} == set(scenario.deployments)
    for decision in decisions:
        assert decision.why is Why.INITIAL
        assert decision.wanted_replicas
    traffic = traffic_of(scenario, np.random.default_rng(0))
    for key, requests in traffic.items():
        longest = next(
            d.spec.model.max_model_len or 8192
            for d in scenario.manifests.deployments
            if d.metadata.name == key.name
        )
        assert len(requests) > 1000
        assert requests.at_s[-1] < scenario.duration_s
        # A few may be longer than the engine serves, and are errors of every policy alike.
        too_long = requests.input_tokens + requests.output_tokens > longest
        assert np.mean(too_long) < 0.01


def test_the_same_seed_gives_the_same_requests_and_another_gives_others() -> None:
    scenario = scenario_of(document(), where="test", folder=Path())
    key = Key(namespace="assistants", name="chat")
    first, again, other = (
        traffic_of(scenario, np.random.default_rng(seed))[key] for seed in (1, 1, 2)
    )
    assert np.array_equal(first.at_s, again.at_s)
    assert not np.array_equal(first.at_s[:50], other.at_s[:50])


def test_an_entry_does_not_change_the_chance_of_those_before_it() -> None:
    key = Key(namespace="assistants", name="chat")
    one = document()["traffic"]
    late = {"deployment": "assistants/chat", "startAt": "5m", "source": {"synthetic": SHAPE}}
    alone = traffic_of(
        scenario_of(document(), where="test", folder=Path()), np.random.default_rng(1)
    )[key]
    both = traffic_of(
        scenario_of(document(traffic=[*one, late]), where="test", folder=Path()),
        np.random.default_rng(1),
    )[key]
    assert np.array_equal(both.slice(0, 300).at_s, alone.slice(0, 300).at_s)
    assert len(both.slice(300, 600)) > 1.7 * len(alone.slice(300, 600))


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"duration": 600}, "duration", "no unit"),
        ({"duration": "ten minutes"}, "duration", "not a duration"),
        ({"speed": 2}, "speed", "Remove it"),
        ({"warmup": "10m"}, "", "Shorten it"),
        ({"manifests": [CHAT]}, "", "no AcceleratorPool"),
        ({"pools": {"h200": {}}}, "", "pools names h200"),
        ({"faults": [{"kind": "metrics-gone", "from": "1m", "to": "2m"}]}, "faults.0.kind", ""),
        ({"faults": [{"kind": "metrics-down", "from": "2m", "to": "1m"}]}, "faults.0", "later"),
        (
            {"traffic": [{"deployment": "chat", "source": {"synthetic": SHAPE}}]},
            "",
            "for default/chat, and manifests hold assistants/chat",
        ),
        (
            {"traffic": [{"deployment": "assistants/chat", "source": {}}]},
            "traffic.0.source",
            "exactly one of trace, servegen",
        ),
        ({"manifests": ["gone.yaml", POOL]}, "gone.yaml", "Name a file"),
        (
            {"manifests": [POOL, {**CHAT, "spec": {"model": {}}}]},
            "LLMDeployment chat: spec.model.name",
            "",
        ),
        ({"pools": {"h100": {"provisioning": {"p50": "2m", "p95": "1m"}}}}, "pools.h100", ""),
        ({"pools": {"h100": {"reclaims": {}}}}, "pools.h100.reclaims", "perHour or trace"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(changes: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        scenario_of(document(**changes), where="test.yaml", folder=Path())
    assert where in raised.value.field
    assert says in str(raised.value)
    assert raised.value.remedy


def test_a_prometheus_must_have_been_asked_before() -> None:
    source = {
        "prometheus": {
            "url": "http://localhost:9090",
            "query": "sum(rate(x[1m]))",
            "last": "10m",
            "inputTokens": {"mean": 100},
            "outputTokens": {"mean": 10},
        }
    }
    entry = {"deployment": "assistants/chat", "source": source}
    scenario = scenario_of(document(traffic=[entry]), where="test", folder=Path())
    with pytest.raises(InvalidInput, match="has not been fetched"):
        traffic_of(scenario, np.random.default_rng(1))
    history = History(at_s=np.array([0.0, 300.0, 600.0]), rps=np.array([2.0, 2.0, 12.0]))
    requests = traffic_of(scenario, np.random.default_rng(1), {0: history})[scenario.deployments[0]]
    assert np.count_nonzero(requests.at_s < 300) == pytest.approx(600, rel=0.15)
    assert np.count_nonzero(requests.at_s >= 300) == pytest.approx(2100, rel=0.1)


def test_files_are_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("t_s,input,output\n0,5,5\n1,6,6\n2,7,7\n")
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(POOL))
    entry = {"deployment": "assistants/chat", "source": {"file": "log.csv", "repeat": False}}
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(document(manifests=["pool.yaml", CHAT], traffic=[entry], duration="1m"))
    )
    scenario = load_scenario(path)
    assert traffic_of(scenario, np.random.default_rng(1))[
        scenario.deployments[0]
    ].input_tokens.tolist() == [5, 6, 7]


def test_deployments_with_one_log_between_them_begin_it_again_together(tmp_path: Path) -> None:
    # Five rows in 8 s: the log lasts 10 s, that of "rare" alone 7 s.
    rows = [(0, "often"), (2, "often"), (3, "rare"), (5, "rare"), (8, "often")]
    log = tmp_path / "log.csv"
    log.write_text("t_s,input,output,model\n" + "".join(f"{t},5,5,{m}\n" for t, m in rows))

    def times(model: str, skip: str) -> list[float]:
        source = {"file": "log.csv", "model": model, "skip": skip}
        entry = {"deployment": "assistants/chat", "source": source}
        scenario = scenario_of(
            document(traffic=[entry], duration="26s", warmup="1s"), where="test", folder=tmp_path
        )
        of = traffic_of(scenario, np.random.default_rng(1))
        return list(of[scenario.deployments[0]].at_s)

    assert times("often", "0s") == [0.0, 2.0, 8.0, 10.0, 12.0, 18.0, 20.0, 22.0]
    assert times("rare", "0s") == [3.0, 5.0, 13.0, 15.0, 23.0, 25.0]
    assert times("rare", "6s") == [7.0, 9.0, 17.0, 19.0]  # none is left of the first lap


def test_traffic_starts_when_it_is_told_and_skips_what_it_is_told() -> None:
    source = {"trace": "azure-conv", "skip": "20m"}
    entry = {"deployment": "assistants/chat", "source": source, "startAt": "5m"}
    scenario = scenario_of(document(traffic=[entry]), where="test", folder=Path())
    requests = traffic_of(scenario, np.random.default_rng(1))[scenario.deployments[0]]
    whole = scenario_of(
        document(traffic=[{**entry, "source": {"trace": "azure-conv"}, "startAt": "0s"}],
                 duration="40m"),
        where="test", folder=Path(),
    )  # fmt: skip
    reference = traffic_of(whole, np.random.default_rng(1))[whole.deployments[0]]
    expected = reference.slice(1200.0, 1500.0)
    assert np.allclose(requests.at_s, expected.at_s + 300.0)
    assert np.array_equal(requests.input_tokens, expected.input_tokens)
