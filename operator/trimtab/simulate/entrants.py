"""Every policy of the benchmark by name: its rule, its defaults, and what its user has to give it.

Where a rule wants a number that only measurements give (a rate or batch for each replica, a
profile), it gets the truth of the simulation, for the mean shape of all the traffic: more than its
users have. Rules that know one kind of hardware only run on each, and the best counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from trimtab.models.load import TokenShape
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.snapshot import Key
from trimtab.simulate.adapter import Scaler
from trimtab.simulate.offers import Offer, Scene, offers_of, scenes_of
from trimtab.simulate.policy import Policy
from trimtab.simulate.rival_policy import AnyRival, RivalPolicy, Seat
from trimtab.simulate.rivals.aibrix import Apa, GpuOptimizer, Profiles
from trimtab.simulate.rivals.dynamo import Dynamo
from trimtab.simulate.rivals.hpa import Hpa
from trimtab.simulate.rivals.hpa_metrics import PodsMetric
from trimtab.simulate.rivals.keda import production_stack
from trimtab.simulate.rivals.kpa import Kpa
from trimtab.simulate.rivals.kthena import Kthena
from trimtab.simulate.rivals.kubeai import KubeAi
from trimtab.simulate.rivals.llmd import Llmd
from trimtab.simulate.rivals.ray_serve import RayServe
from trimtab.simulate.rivals.skyserve import SkyServe, Spot
from trimtab.simulate.rivals.static import Static
from trimtab.simulate.rivals.wva_optimizer import Profile, WvaOptimizer
from trimtab.simulate.rivals.wva_queue import Targets
from trimtab.simulate.rivals.wva_saturation import WvaSaturation
from trimtab.simulate.rivals.wva_tokens import WvaTokens
from trimtab.simulate.trimtab_policy import ReducedPolicy, TrimtabPolicy
from trimtab.simulate.world import World

WAITING_TARGET = 5.0
"""Waiting requests for each replica: where GKE's guide to autoscaling on queue size begins."""
KV_TARGET = 0.5
"""Share of the KV cache in AIBrix's own examples of a PodAutoscaler."""
KTHENA_WAITING = 10.0
"""Waiting requests for each replica in Kthena's example of an AutoscalingPolicy."""
GRID_INPUTS = (128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)
GRID_OUTPUTS = (32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


Hardware = Mapping[Key, tuple[str, ...]]
"""The pools of each deployment; empty for a policy that chooses them itself."""


class Sees(StrEnum):
    """What hardware a rule can choose from."""

    ONE_POOL = "one pool"
    ONE_ACCELERATOR = "one accelerator"
    """All pools that have it, spot and on-demand."""
    ALL = "all pools"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One rival: how it is set up for one deployment."""

    name: str
    sees: Sees
    make: Callable[[Scene], AnyRival]
    begins: Callable[[Scene], Mapping[str, int]] = Scene.beginning


def _only(scene: Scene) -> Offer:
    """Return the one pool of a rule that sees one."""
    (offer,) = scene.offers.values()
    return offer


def _pool(scene: Scene) -> str:
    return _only(scene).pool.name


def _peak(scene: Scene) -> dict[str, int]:
    offer = _only(scene)
    return {offer.pool.name: scene.replicas(offer, scene.peak_rps)}


def _hpa_batch(scene: Scene) -> Hpa:
    target = _only(scene).concurrency
    metric = PodsMetric(read=lambda scrape: scrape.running + scrape.waiting, target=target)
    return Hpa(pool=_pool(scene), metrics=(metric,), name="hpa-batch")


def _hpa_queue(scene: Scene) -> Hpa:
    metric = PodsMetric(read=lambda scrape: scrape.waiting, target=WAITING_TARGET)
    return Hpa(pool=_pool(scene), metrics=(metric,), name="hpa-queue")


def _llmd(scene: Scene) -> Llmd:
    default = Llmd(pool=_pool(scene))
    return Llmd(
        pool=default.pool,
        ttft_s=scene.targets.ttft_s or default.ttft_s,
        tpot_s=scene.targets.itl_s or default.tpot_s,
    )


def _dynamo(scene: Scene) -> Dynamo:
    offer = _only(scene)

    def capacity(inputs: float, outputs: float) -> float:
        return max(_rps(scene, offer, inputs, outputs), 1e-3)

    default = Dynamo(pool=offer.pool.name, capacity=capacity, gpus=offer.kind.devices)
    return Dynamo(
        pool=default.pool,
        capacity=capacity,
        gpus=default.gpus,
        # Whoever may have more GPUs says so: the deployment's own bounds hold.
        gpu_budget=None,
        ttft_s=scene.targets.ttft_s or default.ttft_s,
        itl_s=scene.targets.itl_s or default.itl_s,
    )


def _skyserve(scene: Scene) -> SkyServe:
    both = {offer.spot for offer in scene.offers.values()} == {True, False}
    only_spot = all(offer.spot for offer in scene.offers.values())
    return SkyServe(
        target_qps=scene.cheapest.rps or 1.0,
        spot=Spot(dynamic_ondemand=both) if both or only_spot else None,
    )


def _aibrix_optimizer(scene: Scene) -> GpuOptimizer:
    longest = scene.world.kinds.request(scene.cheapest.variant).engine.max_model_len
    inputs = tuple(x for x in GRID_INPUTS if x < longest)
    outputs = tuple(x for x in GRID_OUTPUTS if x < longest)
    grids = {
        name: tuple(tuple(_rps(scene, offer, x, y) for x in inputs) for y in outputs)
        for name, offer in scene.offers.items()
    }
    return GpuOptimizer(
        profiles=Profiles(input_tokens=inputs, output_tokens=outputs, throughputs=grids)
    )


def _rps(scene: Scene, offer: Offer, inputs: float, outputs: float) -> float:
    """Return the rate of one replica within the targets, of requests of one size; 0 for none."""
    shape = TokenShape(
        input_tokens=max(1.0, round(inputs)),
        output_tokens=max(1.0, round(outputs)),
        input_cv=0.0,
        output_cv=0.0,
    )
    answer = scene.world.kinds.capacity(offer.variant, shape)
    return answer.max_rps if isinstance(answer, ReplicaCapacity) else 0.0


def _wva_optimizer(scene: Scene) -> WvaOptimizer:
    targets = Targets(
        ttft_ms=(scene.targets.ttft_s or 0.0) * 1e3, itl_ms=(scene.targets.itl_s or 0.0) * 1e3
    )
    return WvaOptimizer(
        profiles=tuple(_profile(scene, offer) for offer in scene.offers.values()),
        targets=targets,
        limited=True,
    )


def _profile(scene: Scene, offer: Offer) -> Profile:
    """Return the three times that WVA's administrator measures: a step, a token, a cached token."""
    pace, settings = offer.kind.pace, offer.kind.settings
    shape = scene.world.kinds.request(offer.variant).shape
    context = shape.input_tokens + shape.output_tokens / 2.0
    fits = max(1, int(pace.kv_tokens / max(1.0, context)))
    batch = min(settings.max_num_seqs, fits)
    half = max(1, batch // 2)
    reads = (pace.decode_run(half, 2 * half, 1).first_s, pace.decode_run(
        half, max(2 * half, int(half * context)), 1).first_s)  # fmt: skip
    gamma = max(0.0, reads[1] - reads[0]) / max(1.0, half * context - 2 * half)
    tokens = min(settings.max_num_batched_tokens, 2048)
    alpha = pace.decode_run(1, 2, 1).first_s
    beta = max(0.0, pace.mixed_s(tokens, 1.0, 0, 0) - alpha) / tokens
    return Profile(
        accelerator=offer.pool.name,
        cost=offer.kind.usd_per_hour,
        devices=offer.kind.devices,
        alpha=alpha * 1e3,
        beta=beta * 1e3,
        gamma=gamma * 1e3,
        max_batch=batch,
        at_tokens=max(1, round(shape.output_tokens)),
    )


ENTRANTS: Mapping[str, Entrant] = {
    entrant.name: entrant
    for entrant in (
        Entrant(
            name="static-peak",
            sees=Sees.ONE_POOL,
            make=lambda scene: Static(replicas=_peak(scene), name="static-peak"),
            begins=_peak,
        ),
        Entrant(name="hpa-queue", sees=Sees.ONE_POOL, make=_hpa_queue),
        Entrant(name="hpa-batch", sees=Sees.ONE_POOL, make=_hpa_batch),
        Entrant(name="keda", sees=Sees.ONE_POOL, make=lambda scene: production_stack(_pool(scene))),
        Entrant(name="knative", sees=Sees.ONE_POOL, make=lambda scene: Kpa(pool=_pool(scene))),
        Entrant(name="kubeai", sees=Sees.ONE_POOL, make=lambda scene: KubeAi(pool=_pool(scene))),
        Entrant(
            name="ray-serve", sees=Sees.ONE_POOL, make=lambda scene: RayServe(pool=_pool(scene))
        ),
        Entrant(name="llm-d-slo", sees=Sees.ONE_POOL, make=_llmd),
        Entrant(name="wva-saturation", sees=Sees.ALL, make=lambda scene: WvaSaturation()),
        Entrant(name="wva", sees=Sees.ALL, make=lambda scene: WvaTokens()),
        Entrant(name="wva-optimizer", sees=Sees.ALL, make=_wva_optimizer),
        Entrant(name="dynamo", sees=Sees.ONE_POOL, make=_dynamo),
        Entrant(
            name="aibrix-apa",
            sees=Sees.ONE_POOL,
            make=lambda scene: Apa(
                pool=_pool(scene), read=lambda scrape: scrape.kv_used, target=KV_TARGET
            ),
        ),
        Entrant(name="aibrix-optimizer", sees=Sees.ALL, make=_aibrix_optimizer),
        Entrant(name="skyserve", sees=Sees.ONE_ACCELERATOR, make=_skyserve),
        Entrant(
            name="kthena",
            sees=Sees.ALL,
            make=lambda scene: Kthena(read=lambda scrape: scrape.waiting, target=KTHENA_WAITING),
        ),
    )
}
"""All rivals. The clairvoyant optimum is no rule and has a module of its own."""

OURS: Mapping[str, Callable[[World], Policy]] = {
    "trimtab": lambda world: TrimtabPolicy(base=world.snapshot),
    "trimtab-reduced": lambda world: ReducedPolicy(scaler=Scaler(world.scenario.manifests)),
}
NAMES: tuple[str, ...] = (*OURS, *ENTRANTS)
"""Every policy that `policy_on` knows."""


def hardware_to_try(name: str, world: World) -> list[Hardware]:
    """Return the hardware on which the policy `name` is to be tried: everything on one kind.

    The kind that should cost least is first. A deployment that cannot run on a kind is on the one
    that is cheapest for it. Policies that choose for themselves have one entry.

    Raises:
        KeyError: No policy is called so.
    """
    if name in OURS:
        return [{}]
    offers = offers_of(world)
    groups = {key: _groups(ENTRANTS[name].sees, mine) for key, mine in offers.items() if mine}
    cheapest = {
        key: min(mine, key=lambda group: (_usd(offers[key], mine[group]), group))
        for key, mine in groups.items()
    }
    every = [
        {key: mine.get(name, mine[cheapest[key]]) for key, mine in groups.items()}
        for name in sorted({name for mine in groups.values() for name in mine})
    ]
    return sorted(every, key=lambda one: sum(_usd(offers[key], one[key]) for key in one))


def policy_on(name: str, world: World, hardware: Hardware) -> Policy:
    """Return a fresh policy `name`, on the pools that `hardware` names if it is blind to them.

    Raises:
        KeyError: No policy is called so.
    """
    if name in OURS:
        return OURS[name](world)
    entrant = ENTRANTS[name]
    seats = {
        key: Seat(scene=scene, rival=entrant.make(scene), begins=entrant.begins(scene))
        for key, scene in scenes_of(world, offers_of(world), hardware).items()
    }
    return RivalPolicy(name, seats)


def _usd(offers: Mapping[str, Offer], pools: tuple[str, ...]) -> float:
    return min(offers[pool].usd_per_hour for pool in pools)


def _groups(sees: Sees, offers: Mapping[str, Offer]) -> dict[str, tuple[str, ...]]:
    names = sorted(offers)
    if sees is Sees.ALL:
        return {"all": tuple(names)} if names else {}
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        group = name if sees is Sees.ONE_POOL else offers[name].pool.accelerator_name
        groups[group] = (*groups.get(group, ()), name)
    return groups
