"""What one replica says whose metrics pages these are."""

from collections.abc import Sequence
from dataclasses import replace

import bodies
from answers import CONFIG, NAMESPACE
from trimtab.api.engine import EngineType
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Signal
from trimtab.models.snapshot import Key
from trimtab.observe import engines
from trimtab.observe.kinds import Kind
from trimtab.observe.pages import Stored, evaluate, names_of, parse
from trimtab.observe.parse import parse as parse_object
from trimtab.observe.reader import Reader, Subject
from trimtab.observe.world import PodFacts

TARGETS = LatencyTargets(percentile=0.9, ttft_s=1.0, itl_s=0.1, e2e_s=10.0)


def load(
    texts: Sequence[str],
    *,
    window_s: float = CONFIG.rate_window_s,
    targets: LatencyTargets = TARGETS,
    kind: EngineType = EngineType.VLLM,
) -> ObservedLoad:
    """The signals of pages at equal times, the first a window before the last."""
    engine = engines.get(kind)
    facts = parse_object(Kind.POD, bodies.pod("abcde")).facts
    assert isinstance(facts, PodFacts)
    pod = replace(facts, ready_since=bodies.NOW - 3600)
    apart = window_s / max(1, len(texts) - 1)
    stored = Stored(
        engine=engine,
        pages=tuple(
            parse(text, names_of(engine), bodies.NOW - window_s + apart * index)
            for index, text in enumerate(texts)
        ),
    )
    config = replace(CONFIG, rate_window_s=window_s)
    readings = evaluate({(pod.namespace, pod.name): stored}, {}, bodies.NOW, config)
    key = Key(namespace=NAMESPACE, name="chat")
    subject = Subject(key=key, targets=targets, pods=(pod,), engine=kind)
    return Reader(subject, readings, engine, bodies.NOW, config).load()


def number(signal: Signal) -> float:
    """The value of a signal, which must be fresh."""
    assert isinstance(signal, Fresh), signal
    return signal.value
