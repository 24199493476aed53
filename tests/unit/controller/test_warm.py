"""The time before the process: fetched until it is answered, and merged into what is known."""

import threading
from dataclasses import replace

from trimtab.controller import warm
from trimtab.controller.warm import Past, Recall, recalled
from trimtab.errors import Unavailable
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.memory import Calibration, DeploymentMemory, PlannerMemory
from trimtab.models.snapshot import Key
from trimtab.performance.belief import prior
from trimtab.planner.forecast import ahead

KEY = Key(namespace="assistants", name="chat")
SCALES = prior()


def calibration(pool: str, updated: float) -> Calibration:
    return Calibration(
        namespace=KEY.namespace,
        name=KEY.name,
        pool=pool,
        parallelism=Parallelism(),
        accelerator="nvidia-h100-sxm",
        model="meta-llama/Llama-3.1-8B-Instruct",
        engine=EngineSettings(),
        revision="chat-1-",
        scales=SCALES,
        updated=updated,
    )


def test_what_was_relearnt_stands_beside_what_the_first_plans_have_learnt() -> None:
    memory = PlannerMemory(calibrations=(calibration("l4", 10.0), calibration("spot", 10.0)))
    past = Past(calibrations=(calibration("h100", 5.0), calibration("l4", 9.0)))
    found = recalled(memory, past).calibrations
    assert [(one.pool, one.updated) for one in found] == [
        ("h100", 5.0),
        ("l4", 9.0),
        ("spot", 10.0),
    ]
    assert recalled(memory, Past()) == memory
    assert replace(recalled(memory, past), calibrations=()) == PlannerMemory()


def test_the_forecaster_knows_the_demand_of_before() -> None:
    mine = DeploymentMemory(namespace=KEY.namespace, name=KEY.name, uid="u")
    other = replace(mine, name="other")
    past = Past(demand={KEY: [(60.0 * minute, 7.0) for minute in range(120)]})
    found = recalled(PlannerMemory(deployments=(mine, other)), past).deployments
    assert found[1] == other
    expected = ahead(found[0].forecast, now=60.0 * 119, horizon_s=300.0, q=0.5)
    assert expected is not None
    assert 6.0 < expected < 8.0


def test_the_past_is_given_once() -> None:
    past = Past(demand={KEY: [(0.0, 1.0)]})
    recall = Recall(lambda: past, threading.Event())
    assert recall.take() is None
    recall.run()
    assert recall.take() is past
    assert recall.take() is None


def test_a_prometheus_that_does_not_answer_is_asked_again() -> None:
    asked = 0

    class Moments(threading.Event):
        """Lets no time pass, and notes how long it was to wait."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return False

    def ask() -> Past:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unavailable("Prometheus does not answer")
        return Past()

    waits: list[float | None] = []
    recall = Recall(ask, Moments())
    recall.run()
    assert recall.take() == Past()
    assert waits == [warm.AGAIN_S] * 2


def test_a_past_that_cannot_be_understood_ends_no_process() -> None:
    def ask() -> Past:
        raise ValueError("a label that nobody expected")

    recall = Recall(ask, threading.Event())
    recall.run()
    assert recall.take() is None


def test_a_process_that_stops_asks_no_more() -> None:
    stop = threading.Event()
    stop.set()
    recall = Recall(lambda: Past(), stop)
    recall.run()
    assert recall.take() is None
