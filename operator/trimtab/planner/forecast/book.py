"""The learner: minute by minute it scores what it would have said, and takes the rate in.

Levels of nine half-lives, a short trend and the recent maximum say, as experts, where the largest
rate of each horizon will lie. Their blend, weighted by how wrong each has been, is the location;
recent surprises give the scale; and how far off, in scales, the blend was is counted in classes.
Where the time of day has proved to tell, all experts go by it (`day`).
"""

import math
from dataclasses import dataclass

import numpy as np

from trimtab.models.forecast import ForecastState, Row
from trimtab.planner.forecast import day
from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import (
    ANCHORS,
    BRIDGE_MINUTES,
    CHANCE_SHARE,
    COUNT_HALF_LIFE,
    EDGES,
    ERROR_HALF_LIFE,
    FIRST_WIDTHS,
    HALF_LIVES,
    MINUTE_S,
    MOVE_HALF_LIVES,
    MOVE_SHARES,
    NEAREST,
    PRIOR,
    PRIOR_MINUTES,
    SHARPNESS,
    SHIFT_MOVES,
    SHORT,
    UNLEARNT_MINUTES,
    WIDTH_HALF_LIFE,
)

LONGEST = int(ANCHORS[-1])
EXPERTS = len(HALF_LIVES) + 2
_GAIN = 1.0 - 0.5 ** (1.0 / HALF_LIVES)
_MOVE_GAIN = 1.0 - 0.5 ** (1.0 / MOVE_HALF_LIVES)
_WIDTH_GAIN = 1.0 - 0.5 ** (1.0 / WIDTH_HALF_LIFE)
_ERROR_GAIN = 1.0 - 0.5 ** (1.0 / ERROR_HALF_LIFE)
_FADE = 0.5 ** (1.0 / COUNT_HALF_LIFE)
_ROWS = np.arange(len(ANCHORS))
_TAKEN = 20.0
"""Largest error, in scales, that is taken at its word: one outlier shall not decide."""
_FIRST = np.exp(-((np.arange(EXPERTS) - float(SHORT)) ** 2) / 4.0)
_FIRST = _FIRST / _FIRST.sum()
"""Weights of experts before any was scored: the short level and its neighbours."""


class Book:
    """All that was learnt of one rate, as arrays that change: state in, minutes, state out."""

    def __init__(self, state: ForecastState) -> None:
        """Open what `state` remembers; it is what `written` returned, or empty."""
        self.at, self.rps, self.phase = state.at, state.rps, state.phase
        self.closed, self.closed_at = state.closed, state.closed_at
        self.settled = state.settled
        self.day = state.day
        self.rates = list(state.rates)
        self.past = list(state.past)
        self.levels: Floats = np.array(state.levels)
        self.moves: Floats = np.array(state.moves)
        if state.counts:
            self.biases: Floats = np.array(state.biases)
            self.errors: Floats = np.array(state.errors)
            self.widths: Floats = np.array(state.widths)
            self.counts: Floats = np.array(state.counts)
        else:
            shape = (len(ANCHORS), EXPERTS)
            self.biases, self.errors = np.zeros(shape), np.ones(shape)
            self.widths = FIRST_WIDTHS.copy()
            self.counts = np.zeros((len(ANCHORS), len(EDGES) + 1))

    def observe(self, now: float, rate: float) -> None:
        """Take in a rate that is a number, measured over the minute before `now`."""
        if self.at is None:
            self._begin(now)
        elif now < self.at - MINUTE_S:
            # The clock went back: what is known is taken to have ended now.
            if self.closed_at is not None:
                self.closed_at += now - self.at
            self._begin(now)
        elif now <= self.at:
            return
        else:
            if minute_of(now, self.phase) > minute_of(self.at, self.phase):
                self._end(self.at)
            self.at = now
        self.rps = short(rate)

    def _begin(self, now: float) -> None:
        # In the middle of its minute, so that ticks a little early or late stay in theirs.
        self.at, self.phase = now, (now + MINUTE_S / 2.0) % MINUTE_S

    def _end(self, at: float) -> None:
        """Close the minute of `at`, which lies after that of `closed_at`."""
        missing = 0
        if self.closed_at is not None:
            passed = minute_of(at, self.phase) - minute_of(self.closed_at, self.phase)
            missing = max(0, passed - 1)
        self.closed_at = at
        self.day = day.lived(self.day, at, self.rps)
        self._close_after(missing, at, self.rps)

    def _close_after(self, missing: int, at: float, rate: float) -> None:
        """Take in the rate of a minute, after `missing` minutes of which nothing is known."""
        if missing and missing <= BRIDGE_MINUTES and self.rates:
            steps = np.linspace(self.rates[-1], rate, missing + 2)[1:-1].tolist()
            for before, step in zip(range(missing, 0, -1), steps, strict=True):
                self._close(at - MINUTE_S * before, step)
        elif missing:
            self._skip(rate, missing)
        self._close(at, rate)

    def _skip(self, rate: float, missing: int) -> None:
        """Let `missing` minutes pass as if the rate had been that after them."""
        if len(self.levels):
            self.levels = self.levels + (1.0 - (1.0 - _GAIN) ** missing) * (rate - self.levels)
            self.counts = self.counts * _FADE**missing
        self.rates, self.past = [], []

    def _close(self, at: float, rate: float) -> None:
        self.rates = [*self.rates, rate][-2 * LONGEST :]
        self._score(at)
        if not self.closed:
            self.levels = np.full(len(HALF_LIVES), rate)
            self.moves = np.full(
                len(MOVE_HALF_LIVES), math.sqrt(max(rate, 1.0 / MINUTE_S) / MINUTE_S)
            )
        else:
            self.levels, self.moves, shifted = self._moved(rate, 1.0)
            self.settled = 0 if shifted else self.settled + 1
        self.closed += 1
        row = (*map(short, self.levels.tolist()), short(_scale(self.levels, self.moves)))
        self.past = [*self.past, row][-LONGEST:]

    def _moved(self, rate: float, share: float) -> tuple[Floats, Floats, bool]:
        """Return levels and mean surprises after `share` of a minute of `rate`.

        And whether the level shifted: levels that lag behind it begin anew at the nearest.
        """
        surprise = abs(rate - self.levels[NEAREST])
        gain = 1.0 - (1.0 - np.maximum(_MOVE_GAIN, 1.0 / (self.closed + 2))) ** share
        moves = self.moves + gain * (surprise - self.moves)
        gain = 1.0 - (1.0 - np.maximum(_GAIN, 1.0 / (self.settled + 2))) ** share
        levels = self.levels + gain * (rate - self.levels)
        # Surprises of a higher rate were larger, by the square root where they are chance.
        smaller = np.sqrt(np.minimum(1.0, levels[SHORT] / np.maximum(levels, 1.0 / MINUTE_S)))
        far = np.abs(levels - levels[SHORT]) > SHIFT_MOVES * moves[-1] * smaller
        far[: SHORT + 1] = False
        return np.where(far, levels[NEAREST], levels), moves, bool(far.any())

    def weights(self) -> Floats:
        """Return how much each expert counts for each horizon, (6, experts); rows sum to 1."""
        least = self.errors.min(axis=1, keepdims=True)
        weights = (self.errors / np.maximum(least, 1e-3) + 1e-3) ** -SHARPNESS
        weights = weights / weights.sum(axis=1, keepdims=True)
        seen = max(0, self.closed - UNLEARNT_MINUTES)
        trust = seen / (seen + 20.0)
        return np.asarray(trust * weights + (1.0 - trust) * _FIRST)

    def _score(self, at: float) -> None:
        """Score what was said one horizon ago for each horizon that the last minute ends."""
        ripe = _ROWS[np.minimum(self.closed - UNLEARNT_MINUTES, len(self.past)) >= ANCHORS]
        if not len(ripe):
            return
        spans = ANCHORS[ripe]
        rates = np.array(self.rates)
        found = np.maximum.accumulate(rates[::-1])[spans - 1]
        then = np.array(self.past)[-spans]
        recent = np.array([rates[-2 * span : -span].max() for span in spans.tolist()])
        said, scales = experts(then[:, :-1], recent), then[:, -1]
        usual = day.behind(self.day, at)
        if usual is not None:
            said = said * usual[ripe, None]
        seen = self.closed - UNLEARNT_MINUTES - spans + 1
        gain = np.maximum(_ERROR_GAIN, 1.0 / (seen + 1.0))[:, None]
        error = (found[:, None] - said) / scales[:, None]
        self.biases[ripe] += gain * (np.clip(error, -_TAKEN, _TAKEN) - self.biases[ripe])
        beside = np.minimum(np.abs(error - self.biases[ripe]), _TAKEN)
        self.errors[ripe] += gain * (beside - self.errors[ripe])
        blended = (self.weights()[ripe] * error).sum(axis=1)
        classes = np.searchsorted(EDGES, blended / np.sqrt(np.maximum(self.widths[ripe], 0.05)))
        width_gain = np.maximum(_WIDTH_GAIN, 1.0 / (seen + 10.0))
        self.widths[ripe] += width_gain * (np.minimum(np.abs(blended), _TAKEN) - self.widths[ripe])
        self.counts[ripe] *= _FADE
        self.counts[ripe, classes] += 1.0

    def outlook(self) -> "Outlook":
        """Return what is expected of the largest rate over each horizon."""
        rate, share = self.rps, 1.0
        if self.at is not None and self.closed_at is not None:
            # Of the last measurement, only what is not in a closed minute is new.
            share = min(1.0, (self.at - self.closed_at) / MINUTE_S)
        levels, moves, _ = self._moved(rate, share)
        levels[0] = rate
        rates = np.array([*self.rates, rate])
        spans = np.minimum(ANCHORS, len(rates))
        recent = np.maximum.accumulate(rates[::-1])[spans - 1]
        said = experts(levels[None].repeat(len(ANCHORS), axis=0), recent)
        usual = None if self.at is None else day.ahead(self.day, self.at)
        if usual is not None:
            said = said * usual[:, None]
        location = (self.weights() * said).sum(axis=1)
        scale = _scale(levels, moves) * np.sqrt(np.maximum(self.widths, 0.05))
        below = self.counts.cumsum(axis=1)[:, :-1] + PRIOR_MINUTES * PRIOR
        below = below / (self.counts.sum(axis=1, keepdims=True) + PRIOR_MINUTES)
        return Outlook(location=location, scale=scale, below=below)

    def written(self) -> ForecastState:
        """Return what is to be remembered."""
        return ForecastState(
            at=self.at,
            rps=self.rps,
            phase=self.phase,
            closed_at=self.closed_at,
            closed=self.closed,
            settled=self.settled,
            rates=tuple(self.rates),
            levels=_row(self.levels),
            moves=_row(self.moves),
            past=tuple(self.past),
            biases=tuple(_row(row) for row in self.biases),
            errors=tuple(_row(row) for row in self.errors),
            widths=_row(self.widths),
            counts=tuple(_row(row) for row in self.counts),
            day=self.day,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The distribution of the largest rate over each horizon, (6,), requests/s."""

    location: Floats
    scale: Floats
    below: Floats
    """Chances of no more than each of EDGES, in scales from the location, (6, edges)."""

    def quantile(self, q: float) -> Floats:
        """Return quantile `q`, (6,), requests/s."""
        off = np.array([np.interp(q, row, EDGES) for row in self.below])
        return np.asarray(np.maximum(0.0, self.location + self.scale * off))


def experts(levels: Floats, recent: Floats) -> Floats:
    """Return what each expert says for each horizon, (n, experts), requests/s.

    Args:
        levels: (n, levels).
        recent: Largest rate of as many minutes back as the horizon goes ahead, (n,).
    """
    trend = levels[:, SHORT] + 0.5 * (levels[:, SHORT] - levels[:, SHORT + 2])
    return np.column_stack((levels, np.maximum(trend, 0.0), recent))


def _scale(levels: Floats, moves: Floats) -> float:
    """Return the mean surprise of a minute to expect, requests/s; above 0."""
    recent = math.exp(float(MOVE_SHARES @ np.log(moves + 1e-9)))
    chance = math.sqrt(float(levels[SHORT]) / MINUTE_S)
    return max(recent, CHANCE_SHARE * chance, 0.5 / MINUTE_S)


def minute_of(at: float, phase: float) -> int:
    """Return the number of the minute that Unix second `at` lies in."""
    return math.floor((at - phase) / MINUTE_S)


def _row(values: Floats) -> Row:
    # Six digits: with four, a mean of hours would stand still between its small steps.
    return tuple([float(f"{value:.6g}") if value else 0.0 for value in values.tolist()])


def short(value: float) -> float:
    """Return `value` to four digits: what is kept from plan to plan shall be small."""
    return float(f"{value:.4g}") if value else 0.0
