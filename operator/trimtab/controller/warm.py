"""What a new process remembers of the time before it, fetched beside the first plans."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.memory import Calibration, DeploymentMemory, PlannerMemory
from trimtab.models.snapshot import Key
from trimtab.observe.history import Points, demand_history, known, replay
from trimtab.observe.prometheus import RangeSource
from trimtab.observe.world import WorldView
from trimtab.planner.forecast import warmed
from trimtab.planner.lessons import relearnt

AGAIN_S = 60.0
"""Time until a Prometheus that did not answer is asked again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What Prometheus knows of the time before this process."""

    demand: Mapping[Key, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Unix seconds and requests/s that came, oldest first."""
    calibrations: tuple[Calibration, ...] = ()


def fetch(source: RangeSource, view: WorldView, now: float, config: OperatorConfig) -> Past:
    """Return the past of the deployments in `view`.

    Raises:
        Unavailable: Prometheus does not answer.
    """
    calibrations = relearnt(replay(source, view, now, config), config.planner)
    demand: dict[Key, Points] = demand_history(
        source, known(view), now, labels=config.prometheus_labels
    )
    return Past(demand=demand, calibrations=calibrations)


def recalled(memory: PlannerMemory, past: Past) -> PlannerMemory:
    """Return `memory` with what was learnt before the process began.

    The replay reached up to the moment of the fetch, so it knows more than the few plans since.
    What these have learnt of anything that the replay has not seen stays.
    """
    found = {_variant(each): each for each in (*memory.calibrations, *past.calibrations)}
    return replace(
        memory,
        deployments=tuple(_with_demand(each, past) for each in memory.deployments),
        calibrations=tuple(found[key] for key in sorted(found)),
    )


def _with_demand(memory: DeploymentMemory, past: Past) -> DeploymentMemory:
    """Return `memory` with the forecaster's past, which reaches up to the fetch, too."""
    points = past.demand.get(Key(namespace=memory.namespace, name=memory.name))
    return replace(memory, forecast=warmed(points)) if points else memory


def _variant(one: Calibration) -> tuple[str, str, str, tuple[int, int, int]]:
    degrees = one.parallelism
    shape = degrees.tensor, degrees.pipeline, degrees.expert
    return one.namespace, one.name, one.pool, shape


class Recall:
    """Fetches the past once, in a thread of its own, until Prometheus has answered."""

    def __init__(self, ask: Callable[[], Past], stop: threading.Event) -> None:
        self._ask = ask
        self._stop = stop
        self._past: Past | None = None

    def run(self) -> None:
        """Ask until it is answered or the process stops. Nothing that comes back ends a process."""
        while not self._stop.is_set():
            try:
                self._past = self._ask()
            except Unavailable as error:
                _log.warning("the past could not be fetched yet", why=str(error))
                self._stop.wait(AGAIN_S)
            except Exception:
                _log.exception("the past could not be understood")
                return
            else:
                _log.info(
                    "the past was fetched",
                    deployments=len(self._past.demand),
                    calibrations=len(self._past.calibrations),
                )
                return

    def take(self) -> Past | None:
        """Return what was fetched, once; None before that and ever after."""
        past, self._past = self._past, None
        return past
