"""Many experiments on several processes, and how far they have come."""

import multiprocessing
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from trimtab.errors import TrimtabError
from trimtab.simulate.compare import Measured
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.result import RunResult

HINDSIGHT = "hindsight"
"""Stands for the optimum and the fixed fleets where a policy's name stands for its runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who meets in which scenarios."""

    experiments: Sequence[Experiment]
    policies: Sequence[str]
    seeds: int | None = None
    """How many; None takes each scenario's own number."""
    jobs: int = 1
    """Processes."""
    hindsight: bool = True
    """Whether results are held against optimum, bound and fixed fleets, which takes a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something is done."""

    done: int
    total: int
    scenario: str
    what: str
    """A policy, or `hindsight`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All of one scenario."""

    experiment: Experiment
    measured: tuple[Measured, ...]
    failures: tuple[str, ...]
    """What could not be run, and why."""


@dataclass(slots=True, kw_only=True)
class _Part:
    """One scenario that is under way."""

    experiment: Experiment
    seeds: range
    left: int
    """Tasks until its stage is done."""
    runs: dict[str, tuple[RunResult, ...]] = field(default_factory=dict)
    measured: dict[int, tuple[Measured, ...]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def plain(self, seed: int) -> tuple[Measured, ...]:
        """Return the results of one seed with nothing beside them."""
        return tuple(Measured(result=runs[seed]) for runs in self.runs.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    part: int
    policy: str | None = None
    """None is hindsight of one seed."""
    seed: int = 0

    @property
    def what(self) -> str:
        return self.policy or f"{HINDSIGHT}, seed {self.seed}"


_Answer = tuple[RunResult, ...] | tuple[Measured, ...] | str
"""Results, or the words of a failure."""


def outcomes(contest: Contest, tell: Callable[[Progress], None]) -> Iterator[Outcome]:
    """Yield the outcome of each experiment as it is complete.

    A policy that fails is told of in `failures` and costs the others nothing.
    """
    parts = [
        _Part(
            experiment=experiment,
            seeds=range(contest.seeds or experiment.scenario.seeds),
            left=len(contest.policies),
        )
        for experiment in contest.experiments
    ]
    waiting = deque(
        _Task(part=number, policy=policy)
        for number in range(len(parts))
        for policy in contest.policies
    )
    total = len(waiting) + sum(len(part.seeds) for part in parts if contest.hindsight)
    done = 0
    for task, answer in _answers(contest, parts, waiting):
        done += 1
        part = parts[task.part]
        name = part.experiment.scenario.name
        tell(Progress(done=done, total=total, scenario=name, what=task.what))
        _take(part, task, answer)
        if part.left:
            continue
        if task.policy is not None and contest.hindsight:
            # Hindsight goes before what else waits, so that scenarios are complete one by one.
            part.left = len(part.seeds)
            waiting.extendleft(_Task(part=task.part, seed=seed) for seed in reversed(part.seeds))
        else:
            for seed in part.seeds:
                part.measured.setdefault(seed, part.plain(seed))
            yield Outcome(
                experiment=part.experiment,
                measured=tuple(one for seed in part.seeds for one in part.measured[seed]),
                failures=tuple(part.failures),
            )


def _take(part: _Part, task: _Task, answer: _Answer) -> None:
    part.left -= 1
    if isinstance(answer, str):
        part.failures.append(f"{task.what}: {answer}")
    elif task.policy is not None:
        part.runs[task.policy] = tuple(one for one in answer if isinstance(one, RunResult))
    else:
        part.measured[task.seed] = tuple(one for one in answer if isinstance(one, Measured))


def _answers(
    contest: Contest, parts: Sequence[_Part], waiting: deque[_Task]
) -> Iterator[tuple[_Task, _Answer]]:
    """Yield each task with its answer as it comes; `waiting` may grow meanwhile."""
    if contest.jobs == 1:
        while waiting:
            task = waiting.popleft()
            yield task, _work(*_order(contest, parts, task))
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(contest.jobs, mp_context=spawn) as crew:
        running: dict[Future[_Answer], _Task] = {}
        while waiting or running:
            while waiting and len(running) < contest.jobs:
                task = waiting.popleft()
                running[crew.submit(_work, *_order(contest, parts, task))] = task
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()


_Order = tuple[Experiment, str | None, tuple[int, ...], tuple[RunResult, ...]]


def _order(contest: Contest, parts: Sequence[_Part], task: _Task) -> _Order:
    """Return what a process is told: the experiment, the policy, the seeds, earlier results."""
    part = parts[task.part]
    if task.policy is not None:
        return part.experiment, task.policy, tuple(part.seeds), ()
    results = tuple(
        part.runs[policy][task.seed] for policy in contest.policies if policy in part.runs
    )
    return part.experiment, None, (task.seed,), results


def _work(
    experiment: Experiment,
    policy: str | None,
    seeds: tuple[int, ...],
    results: tuple[RunResult, ...],
) -> _Answer:
    try:
        if policy is None:
            return experiment.measured(seeds[0], results)
        return experiment.runs(policy, seeds)
    except TrimtabError as error:
        return str(error)
    except Exception as error:  # a rule that breaks is a finding, and the others still count
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
        )
