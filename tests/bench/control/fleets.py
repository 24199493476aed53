"""Fixed fleets of a case in hindsight: what share of requests each count of replicas serves."""

import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import trimtab
from bench.control.cases import MOST
from trimtab.models.snapshot import Key
from trimtab.simulate.kinds import variants_of
from trimtab.simulate.policy import FixedPolicy
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of

_PACKAGE = Path(trimtab.__file__).parent
_MADE_OF = (
    "simulate/engine.py", "simulate/batch.py", "simulate/blocks.py", "simulate/job.py",
    "simulate/pace.py", "simulate/gateway.py", "simulate/routers.py", "simulate/ledger.py",
    "simulate/inputs", "catalog", "performance",
)  # fmt: skip
"""What a fixed fleet's score depends on: a change of it makes what was kept worthless."""


class FixedCurve:
    """Share of requests within all targets by count of replicas, run when first asked for.

    Kept on disk, for the planner, on which most work is done, does not change it.
    """

    def __init__(self, scenario: Scenario, traffic: Mapping[Key, Traffic], seed: int) -> None:
        """Take what every fleet meets."""
        self._scenario, self._traffic, self._seed = scenario, traffic, seed
        world = world_of(scenario, traffic)
        (self._key,) = scenario.deployments
        (self._variant,) = variants_of(world.snapshot, world.states[0])
        described = scenario.model_dump_json(exclude={"manifests", "folder"})
        manifests = repr(scenario.manifests)
        digest = sha256(f"{described}{manifests}{seed}{_sources()}".encode()).hexdigest()[:16]
        self._file = _cache() / f"{scenario.name}-{digest}.json"
        kept: dict[str, float] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._shares = {int(count): share for count, share in kept.items()}

    def share(self, count: int) -> float:
        """Return the share that `count` replicas serve within all targets, 0 to 1."""
        if count not in self._shares:
            policy = FixedPolicy(replicas={self._variant: count})
            result = run(self._scenario, self._traffic, policy, self._seed)
            self._shares[count] = result.attainment or 0.0
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self._shares))
        return self._shares[count] if count else 0.0

    def replicas_for(self, share: float) -> float | None:
        """Return how many replicas serve that share; None where the pool's all do not.

        Between two counts the share is taken to rise in a straight line. The count rises until
        one is enough, so that a lucky smaller fleet counts: hindsight is kind to fixed fleets.
        """
        low, high = 0, 1
        while self.share(high) < share:
            if high == MOST:
                return None
            low, high = high, min(MOST, 2 * high)
        while high - low > 1:
            middle = (low + high) // 2
            if self.share(middle) < share:
                low = middle
            else:
                high = middle
        below, above = self.share(low) if low else 0.0, self.share(high)
        return low + (share - below) / (above - below) * (high - low)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trimtab" / "bench"


def _sources() -> str:
    found = sha256()
    for name in _MADE_OF:
        for file in _files(_PACKAGE / name):
            found.update(file.read_bytes())
    return found.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix in {".py", ".csv", ".gz"})
    return (path,) if path.exists() else ()
