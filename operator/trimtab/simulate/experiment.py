"""What one experiment runs: every policy on the same requests and the same luck, by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.models.snapshot import Key
from trimtab.simulate.compare import Measured
from trimtab.simulate.entrants import NAMES, policy_on
from trimtab.simulate.hindsight import best_in_hindsight
from trimtab.simulate.inputs.read import History
from trimtab.simulate.optimum import Clairvoyant
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import Mode, run
from trimtab.simulate.scenario import Scenario, traffic_of
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A scenario with what was fetched for it. Can be sent to another process."""

    scenario: Scenario
    histories: Mapping[int, History] | None = None
    """What a Prometheus answered, by the number of the traffic entry."""
    mode: Mode = Mode.EXACT
    """How requests are served."""

    def traffic(self, seed: int) -> Mapping[Key, Traffic]:
        """Return the requests of one seed, the same for every policy."""
        rng = np.random.default_rng([seed, crc32(self.scenario.name.encode())])
        return traffic_of(self.scenario, rng, self.histories)

    def runs(self, policy: str, seeds: Sequence[int]) -> tuple[RunResult, ...]:
        """Return one run of `policy` for each seed.

        The best hardware for a rule that is blind to it is found with the first seed and taken
        for all.

        Raises:
            InvalidInput: There is no such policy.
        """
        check_policies([policy])
        hardware, first = best_in_hindsight(
            self.scenario, self.traffic(seeds[0]), policy, seeds[0], self.mode
        )
        results = [first]
        for seed in seeds[1:]:
            traffic = self.traffic(seed)
            fresh = policy_on(policy, world_of(self.scenario, traffic), hardware)
            results.append(run(self.scenario, traffic, fresh, seed, self.mode))
        return tuple(results)

    def measured(self, seed: int, results: Sequence[RunResult]) -> tuple[Measured, ...]:
        """Return the results of one seed beside the optimum, the bound and the best fixed fleet.

        The run of the optimum comes last, as a row of its own.
        """
        traffic = self.traffic(seed)
        seer = Clairvoyant(self.scenario, traffic, seed, partial(run, mode=self.mode))
        optimum = seer.optimum().beside(results)

        def beside(result: RunResult) -> Measured:
            bound = seer.bound(result)
            return Measured(
                result=result,
                optimum_usd=optimum.usd_for(result),
                bound_usd=None if bound is None else bound.usd,
                fixed=seer.fixed.like(result),
            )

        return tuple(beside(result) for result in (*results, optimum.closest))


def check_policies(names: Sequence[str]) -> None:
    """Refuse a policy that nobody knows.

    Raises:
        InvalidInput: There is no such policy.
    """
    for name in names:
        if name not in NAMES:
            raise InvalidInput(
                "--policy", f"there is no policy {name}", f"Name one of {', '.join(NAMES)}"
            )
