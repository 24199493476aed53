"""A simulated engine whose steps are slower than the model says, as Prometheus sees it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from trimtab.models.hardware import Parallelism
from trimtab.models.load import VariantReading
from trimtab.models.memory import Calibration
from trimtab.models.performance import Infeasible, StepScales
from trimtab.models.signals import Fresh, Missing, Signal
from trimtab.performance.belief import prior, stretched
from trimtab.performance.calibration import learn
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.fit import kv_tokens
from trimtab.performance.outlook import saturation_rate
from trimtab.performance.steptime import StepModel, step_model
from trimtab.performance.window import Load, Moment, seen_in
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, FirstToken, Preempted, Request, Resumed, Steps
from trimtab.simulate.pace import Pace

SCRAPE_S = 15.0
WINDOW_SCRAPES = 4


@dataclass
class Counters:
    """What the pod's page has counted since its start."""

    gap_sum: float = 0.0
    gaps: int = 0
    first_sum: float = 0.0
    firsts: int = 0
    prompts: int = 0
    answers: int = 0
    finished: int = 0
    steps: int = 0
    """That gave a token."""
    preempted: int = 0
    waiting: int = 0
    running: int = 0
    kv: float = 0.0


@dataclass
class Page:
    """One replica under random arrivals; `factor` stretches all its times, as a function of time.

    The engine runs at its own pace, and the clock on the wall goes `factor` times as fast: so a
    stretched engine is simulated exactly, whatever it remembers of its step times.
    """

    request: CapacityRequest
    rate: float
    """Requests per second."""
    factor: Callable[[float], float] = lambda at: 1.0
    stretch: Callable[[StepModel], StepModel] = lambda step: step
    """On top of it, and constant."""
    seed: int = 1
    now: float = 0.0
    counters: Counters = field(default_factory=Counters)
    history: list[Counters] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start an idle engine."""
        self._dice = random.Random(self.seed)
        self._next = self._dice.expovariate(self.rate)
        self._count = 0
        self.restart()

    def restart(self) -> None:
        """A new process: empty queue, counters at zero, and no window until it is full again."""
        one = self.request
        tokens = kv_tokens(one.geometry, one.accelerator, one.parallelism, one.engine)
        assert not isinstance(tokens, Infeasible)
        step = step_model(one.geometry, one.accelerator, one.parallelism, one.engine)
        self._engine = Engine(Pace(self.stretch(step), tokens), one.engine)
        self._own = 0.0
        self.started = self.now
        self.counters = Counters()
        self.history = [self._copy()]

    def scrape(self) -> None:
        """Run for 15 s and read the page."""
        factor = self.factor(self.now)
        end = self.now + SCRAPE_S
        start, own = self.now, self._own
        while self._next < end:
            at = own + (self._next - start) / factor
            self._observe(self._engine.advance(at), factor)
            shape = self.request.shape
            self._engine.submit(
                Request(
                    id=self._count,
                    arrival=at,
                    input_tokens=self._length(shape.input_tokens, shape.input_cv),
                    output_tokens=self._length(shape.output_tokens, shape.output_cv),
                ),
                at,
            )
            self._count += 1
            self._next += self._dice.expovariate(self.rate)
        self._own = own + SCRAPE_S / factor
        self._observe(self._engine.advance(self._own), factor)
        self.now = end
        self.counters.waiting = self._engine.waiting(self._own)
        self.counters.running = self._engine.running
        self.counters.kv = self._engine.kv_blocks_used / self._engine.kv_blocks
        self.history.append(self._copy())

    def reading(self, **over: Signal) -> VariantReading:
        """What four scrapes say, as the operator reads them."""
        old, new = self.history[max(0, len(self.history) - 1 - WINDOW_SCRAPES)], self.history[-1]
        seconds = SCRAPE_S * WINDOW_SCRAPES
        batches = [one.running for one in self.history[-WINDOW_SCRAPES:]]
        gaps, firsts = new.gaps - old.gaps, new.firsts - old.firsts
        signals: dict[str, Signal] = {
            "itl_s": _mean(new.gap_sum - old.gap_sum, gaps),
            "gaps_per_s": Fresh(value=gaps / seconds),
            "ttft_s": _mean(new.first_sum - old.first_sum, firsts),
            "first_tokens_per_s": Fresh(value=firsts / seconds),
            "input_tokens": _mean(new.prompts - old.prompts, new.finished - old.finished),
            "output_tokens": _mean(new.answers - old.answers, new.finished - old.finished),
            "prefix_hit": Fresh(value=0.0),
            "steps_per_s": Fresh(value=(new.steps - old.steps) / seconds),
            "preempted_per_s": Fresh(value=(new.preempted - old.preempted) / seconds),
            "waiting": Fresh(value=float(new.waiting)),
            "running": Fresh(value=sum(batches) / len(batches)),
            "kv_utilization": Fresh(value=new.kv),
        }
        return VariantReading(
            pool="h100", parallelism=Parallelism(), revision="chat-1-", **(signals | over)
        )

    def _observe(self, events: list[Event], factor: float) -> None:
        counters = self.counters
        for event in events:
            match event:
                case Steps():
                    each = event.first_s + event.growth_s * (event.count - 1) / 2.0
                    counters.gap_sum += factor * each * event.count * event.decoding
                    counters.gaps += event.count * event.decoding
                    counters.steps += event.count * bool(event.decoding or event.prompts_done)
                case Resumed():
                    counters.gap_sum += factor * event.gap_s
                    counters.gaps += 1
                case FirstToken():
                    counters.first_sum += factor * (event.at - event.reached_at)
                    counters.firsts += 1
                case Finished():
                    counters.prompts += event.request.input_tokens
                    counters.answers += event.generated
                    counters.finished += 1
                case Preempted():
                    counters.preempted += 1

    def _length(self, mean: float, spread: float) -> int:
        sigma = math.sqrt(math.log1p(spread * spread))
        drawn = self._dice.lognormvariate(math.log(mean) - sigma * sigma / 2.0, sigma)
        return max(1, min(round(drawn), self.request.engine.max_model_len // 2))

    def _copy(self) -> Counters:
        return Counters(**vars(self.counters))


def _mean(total: float, count: int) -> Signal:
    return Fresh(value=total / count) if count else Missing(why="no request in the window")


def page(
    asked: CapacityRequest, load: float, factor: Callable[[float], float], **over: Any
) -> Page:
    """A replica at a share of the rate at which it would saturate."""
    replica = replica_of(asked)
    assert not isinstance(replica, Infeasible)
    return Page(
        request=asked, rate=load * saturation_rate(replica) / factor(0.0), factor=factor, **over
    )


def begun(asked: CapacityRequest) -> Calibration:
    """What is believed of it before it is seen."""
    return Calibration(
        namespace="assistants",
        name="chat",
        pool="h100",
        parallelism=asked.parallelism,
        accelerator=asked.accelerator.name,
        model=asked.geometry.name,
        engine=asked.engine,
        revision="chat-1-",
        scales=prior(),
        updated=0.0,
    )


def taught(before: Calibration, shown: Page, **signals: Signal) -> Calibration:
    """What is believed after one more scrape."""
    shown.scrape()
    moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now - shown.started)
    return learn(before, shown.reading(**signals), shown.request, moment)


def off(scales: StepScales | None, shown: Page) -> float:
    """By how much the step time of the running load is off, as a logarithm."""
    moment = Moment(now=shown.now, window_s=60.0, ready_s=1e9)
    seen = seen_in(shown.reading(), moment)
    assert seen is not None
    replica = replica_of(replace(shown.request, shape=seen.shape_of(shown.request)))
    assert not isinstance(replica, Infeasible)
    load = Load.of(replica, seen)
    truth = shown.stretch(replica.step).scaled(shown.factor(shown.now - SCRAPE_S / 2))
    believed = replica.step if scales is None else stretched(replica.step, scales)
    return math.log(load.gap_s(believed) / load.gap_s(truth))
