"""What happened on all replicas of a service, written down as numbers and counted in one go."""

import numpy as np
from numpy.typing import NDArray

from trimtab.models.load import RUNGS, LatencyTargets
from trimtab.simulate.ledger import Digest, Floats, Tally
from trimtab.simulate.meter import Cut, Meter


class Log:
    """What happened since it was last read."""

    __slots__ = ("ends", "firsts", "gaps")

    def __init__(self) -> None:
        self.firsts: list[tuple[float, float]] = []
        """(seconds since it reached the replica, since it was sent) of each first token."""
        self.ends: list[tuple[float, float, float, float, int, int]] = []
        """(when sent, when at the replica, first token, last token, prompt, answer) of each."""
        self.gaps: list[tuple[float, int]] = []
        """(mean seconds between two tokens of one answer, how many) of steps with one batch."""

    def read(self, meter: Meter, tally: Tally, targets: LatencyTargets) -> None:
        """Add it to what a metrics server knows and to the score, and forget it."""
        if self.firsts:
            self._firsts(meter.cut, tally, targets)
        if self.ends:
            self._ends(meter, tally, targets)
        if self.gaps:
            gaps, many = (np.array(column) for column in zip(*self.gaps, strict=True))
            counted = Digest.of(gaps, many)
            meter.cut.gap_s.merge(counted)
            tally.itl_s.merge(counted)
            total = int(many.sum())
            meter.cut.counts.gaps += total
            tally.gaps += total
            tally.gaps_within += int(many[_within(gaps, targets.itl_s)].sum())
        self.firsts, self.ends, self.gaps = [], [], []

    def _firsts(self, cut: Cut, tally: Tally, targets: LatencyTargets) -> None:
        waits, sent = np.array(self.firsts).T
        cut.ttft_s.merge(Digest.of(waits))
        counted = Digest.of(sent)
        cut.sent_ttft_s.merge(counted)
        tally.ttft_s.merge(counted)
        cut.within_ttft += int(_within(waits, targets.ttft_s).sum())
        cut.counts.first_tokens += len(waits)

    def _ends(self, meter: Meter, tally: Tally, targets: LatencyTargets) -> None:
        sent, reached, first, last, inputs, outputs = np.array(self.ends).T
        cut, served = meter.cut, len(sent)
        gaps = outputs > 1
        itl = (last - first) / np.maximum(outputs - 1, 1)
        paced = ~gaps | _within(itl, targets.itl_s)
        prompt = _within(first - sent, targets.ttft_s)
        whole = _within(last - sent, targets.e2e_s)
        tally.served += served
        tally.met += int((prompt & paced & whole).sum())
        tally.met_ttft += int(prompt.sum())
        tally.met_itl += int(paced.sum())
        tally.met_e2e += int(whole.sum())
        cut.e2e_s.merge(Digest.of(last - reached))
        cut.itl_s.merge(Digest.of(itl[gaps]))
        cut.paced += int(gaps.sum())
        cut.within_itl += int(paced[gaps].sum())
        for rungs, lengths in ((cut.inputs, inputs), (cut.outputs, outputs)):
            found, many = np.unique(np.searchsorted(RUNGS, lengths), return_counts=True)
            for rung, count in zip(found.tolist(), many.tolist(), strict=True):
                rungs[rung] += count
        prompts, answers = int(inputs.sum()), int(outputs.sum())
        cut.counts.finished += served
        cut.counts.inputs += prompts
        cut.counts.outputs += answers
        cut.counts.sought += prompts
        meter.served_prompts += prompts
        meter.served_answers += answers


def _within(seconds: Floats, target: float | None) -> NDArray[np.bool_]:
    return np.ones(len(seconds), dtype=bool) if target is None else seconds <= target
