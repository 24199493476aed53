"""Every policy of the benchmark on a small fleet, and the kindness to those blind to hardware."""

import pytest

from trimtab.simulate.entrants import ENTRANTS, NAMES, OURS, hardware_to_try, policy_on
from trimtab.simulate.hindsight import attains, best_in_hindsight
from trimtab.simulate.offers import offers_of, scenes_of
from trimtab.simulate.policy import FixedPolicy
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.world import world_of
from unit.simulate.worlds import CHAT, H100, L40S, deployment, pool, scenario, traffic, variant

SMALL = scenario(
    duration="10m",
    traffic=[{"deployment": "default/chat", "source": {"trace": "azure-conv"}, "scale": 0.5}],
)
ISSUE = (
    "static-peak", "hpa-queue", "hpa-batch", "keda", "knative", "kubeai", "ray-serve", "llm-d-slo",
    "wva-saturation", "wva", "wva-optimizer", "dynamo", "aibrix-apa", "aibrix-optimizer",
    "skyserve", "kthena",
)  # fmt: skip


def test_every_rival_of_the_issue_is_there() -> None:
    assert set(ISSUE) == set(ENTRANTS)
    assert set(NAMES) == set(ISSUE) | set(OURS)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_serves_a_calm_trace(name: str) -> None:
    requests = traffic(SMALL)
    world = world_of(SMALL, requests)
    hardware = hardware_to_try(name, world)[0]
    result = run(SMALL, requests, policy_on(name, world, hardware), 0)
    got = result.deployments[str(CHAT)]

    assert result.policy == name
    assert got.tally.arrived == got.tally.settled > 1000
    assert got.tally.served > 0.6 * got.tally.arrived
    assert 0.0 < result.cost_usd < 20 * 2.5 / 6
    assert result.decisions[0].at_s == 0.0
    assert result.decisions[0].fleet


def test_who_is_blind_to_hardware_gets_the_cheapest_that_attains() -> None:
    requests = traffic(SMALL)
    world = world_of(SMALL, requests)
    hardware, result = best_in_hindsight(SMALL, requests, "static-peak", 0)
    tried = [
        run(SMALL, requests, policy_on("static-peak", world, each), 0)
        for each in hardware_to_try("static-peak", world)
    ]

    assert len(tried) == 2
    assert attains(result)
    assert result.cost_usd == min(each.cost_usd for each in tried if attains(each))
    assert set(result.pools) == set(hardware[CHAT])


def test_each_deployment_is_tried_on_the_hardware_that_suits_it() -> None:
    # The large model fits on no L40S node of one device, the small one is cheapest there.
    mixed = scenario(
        duration="5m",
        manifests=[
            H100,
            pool("l40s", "nvidia-l40s", "0.50", devicesPerNode=1),
            deployment(),
            deployment(
                "large",
                model={"name": "meta-llama/Llama-3.1-70B-Instruct"},
                latency={"timeToFirstToken": "5s", "interTokenLatency": "100ms"},
            ),
        ],
        traffic=[
            {"deployment": "default/chat", "source": {"trace": "azure-conv"}, "scale": 0.2},
            {"deployment": "default/large", "source": {"trace": "azure-conv"}, "scale": 0.1},
        ],
    )
    requests = traffic(mixed)
    hardware, result = best_in_hindsight(mixed, requests, "static-peak", 0)

    assert {str(key): pools for key, pools in hardware.items()} == {
        "default/chat": ("l40s",),
        "default/large": ("h100",),
    }
    assert attains(result)


def test_the_offer_of_a_pool_is_the_parallelism_that_serves_the_traffic_cheapest() -> None:
    requests = traffic(SMALL)
    world = world_of(SMALL, requests)
    offers = offers_of(world)[CHAT]

    # Two requests/s: one device is enough, and two of them in one replica cost twice as much.
    assert {name: offer.variant.parallelism.devices for name, offer in offers.items()} == {
        "h100": 1,
        "l40s": 1,
    }
    assert all(offer.rps > 0.0 for offer in offers.values())
    assert offers["h100"].rps > offers["l40s"].rps
    scene = scenes_of(world, offers_of(world), {CHAT: ("l40s",)})[CHAT]
    assert scene.beginning() == {"l40s": scene.replicas(offers["l40s"], 2.5)}


def test_a_pool_that_the_user_forbids_is_offered_to_nobody() -> None:
    spot = dict(L40S, spec=L40S["spec"] | {"capacityType": "Spot"})
    of = scenario(manifests=[H100, spot, deployment()])

    assert list(offers_of(world_of(of, traffic(of)))[CHAT]) == ["h100"]


def test_a_rival_is_told_of_its_own_pools_only_and_keeps_off_the_others() -> None:
    requests = traffic(SMALL)
    world = world_of(SMALL, requests)
    for hardware in hardware_to_try("keda", world):
        result = run(SMALL, requests, policy_on("keda", world, hardware), 0)
        assert set(result.pools) == set(hardware[CHAT])


def test_more_of_the_same_never_attains_less() -> None:
    busy: Scenario = scenario(
        traffic=[{"deployment": "default/chat", "source": {"trace": "azure-conv"}, "scale": 8}]
    )
    requests = traffic(busy)
    shares = []
    for count in (1, 2, 4):
        result = run(busy, requests, FixedPolicy(replicas={variant(): count}), 0)
        assert result.attainment is not None
        shares.append(result.attainment)

    assert shares[0] < 0.9
    assert shares[0] <= shares[1] <= shares[2]
    assert shares[2] > 0.99
