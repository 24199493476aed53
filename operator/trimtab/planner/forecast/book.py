"""The learner: minute by minute it scores what it would have said, and takes the rates in.

Levels of nine half-lives, a short trend and the recent maximum say, as experts, where the largest
rate of each horizon will lie. Their blend, weighted by how wrong each has been, is the location;
recent surprises give the scale; and how far off, in scales, the blend was is counted in classes.
Where the time of day has proved to tell, all experts go by it (`day`). Beside it the plain opinion
that the rate stays is kept, with what each of the two has lost by (`plain`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import day, plain
from trimtab.planner.forecast.arrays import Floats, rounded
from trimtab.planner.forecast.constants import (
    ANCHORS,
    BRIDGE_MINUTES,
    CHANCE_SHARE,
    COUNT_HALF_LIFE,
    EDGES,
    ERROR_HALF_LIFE,
    FIRST_WIDTHS,
    HALF_LIVES,
    JUMPS,
    LEVELS,
    MINUTE_S,
    MOVE_HALF_LIVES,
    MOVE_SHARES,
    NEAREST,
    OPINION_HALF_LIFE,
    PRIOR,
    PRIOR_MINUTES,
    SHARPNESS,
    SHIFT_MOVES,
    SHORT,
    UNLEARNT_MINUTES,
    WIDTH_HALF_LIFE,
)
from trimtab.planner.forecast.opened import Arrays, keep, opened
from trimtab.planner.forecast.outlook import Outlook

LONGEST = int(ANCHORS[-1])
EXPERTS = len(HALF_LIVES) + 2
_GAIN = 1.0 - 0.5 ** (1.0 / HALF_LIVES)
_MOVE_GAIN = 1.0 - 0.5 ** (1.0 / MOVE_HALF_LIVES)
_WIDTH_GAIN = 1.0 - 0.5 ** (1.0 / WIDTH_HALF_LIFE)
_ERROR_GAIN = 1.0 - 0.5 ** (1.0 / ERROR_HALF_LIFE)
_OPINION_GAIN = 1.0 - 0.5 ** (1.0 / OPINION_HALF_LIFE)
_FADE = 0.5 ** (1.0 / COUNT_HALF_LIFE)
_ROWS = np.arange(len(ANCHORS))
_TAKEN = 20.0
"""Largest error, in scales, that is taken at its word: one outlier shall not decide."""
_FIRST = np.exp(-((np.arange(EXPERTS) - float(SHORT)) ** 2) / 4.0)
_FIRST = _FIRST / _FIRST.sum()
"""Weights of experts before any was scored: the short level and its neighbours."""


class Book:
    """All that was learnt of rates that are alike, as arrays that change.

    States in, minutes, states out: of a thousand rates at once it takes a fiftieth of the time. All
    arrays have a row for each rate.
    """

    def __init__(self, states: Sequence[ForecastState]) -> None:
        """Open what `states` remember, one or more with the same `shape_of`."""
        self.at = [state.at for state in states]
        self.rps = [state.rps for state in states]
        self.phase = [state.phase for state in states]
        self.closed_at = [state.closed_at for state in states]
        self.day = [state.day for state in states]
        self.rates = [state.rates for state in states]
        self.past = [state.past for state in states]
        self.closed = np.array([state.closed for state in states])
        self.settled = np.array([state.settled for state in states])
        self._open(opened(states) if states[0].counts else _first(states))

    def _open(self, arrays: Arrays) -> None:
        """Take `arrays` for those of the book."""
        self.levels, self.moves, self.biases, self.errors = arrays[:4]
        self.widths, self.counts, self.jumps, self.losses = arrays[4:]

    def observe(self, now: float, rates: Sequence[float]) -> None:
        """Take in rates that are numbers, measured over the minute before `now`.

        Of all of them as many minutes end with it (`ended`).
        """
        missing = ended(self.at[0], self.phase[0], self.closed_at[0], now)
        if missing is not None:
            self._end(missing)
        for i, rate in enumerate(rates):
            at, closed_at = self.at[i], self.closed_at[i]
            if at is not None and at - MINUTE_S <= now <= at:
                continue
            if at is not None and closed_at is not None and now < at:
                # The clock went back: what is known is taken to have ended now.
                self.closed_at[i] = closed_at + (now - at)
            if at is None or now < at:
                # In the middle of its minute, so that ticks a little early or late stay in theirs.
                self.phase[i] = (now + MINUTE_S / 2.0) % MINUTE_S
            self.at[i], self.rps[i] = now, short(rate)

    def _end(self, missing: int) -> None:
        """Close the minutes of `at`, after `missing` minutes of which nothing is known."""
        ats = [at for at in self.at if at is not None]
        self.closed_at = [*ats]
        self.day = [
            day.lived(usual, at, rate)
            for usual, at, rate in zip(self.day, ats, self.rps, strict=True)
        ]
        if missing and missing <= BRIDGE_MINUTES and self.rates[0]:
            steps = [
                np.linspace(rates[-1], rate, missing + 2)[1:-1].tolist()
                for rates, rate in zip(self.rates, self.rps, strict=True)
            ]
            for i in range(missing):
                before = [at - MINUTE_S * (missing - i) for at in ats]
                self._close(before, [each[i] for each in steps])
        elif missing:
            self._skip(missing)
        self._close(ats, self.rps)

    def _skip(self, missing: int) -> None:
        """Let `missing` minutes pass as if the rate had been that after them."""
        if self.levels.size:
            gain = 1.0 - (1.0 - _GAIN) ** missing
            self.levels = self.levels + gain * (_column(self.rps) - self.levels)
            self.counts = self.counts * _FADE**missing
            self.jumps = self.jumps * _FADE**missing
        self.rates = [() for _ in self.rates]
        self.past = [() for _ in self.past]

    def _close(self, ats: Sequence[float], rates: Sequence[float]) -> None:
        """Take in the rates of a minute that was measured at `ats`."""
        self.rates = [
            (*before, rate)[-2 * LONGEST :] for before, rate in zip(self.rates, rates, strict=True)
        ]
        self._score(ats)
        if not self.levels.size:
            self.levels = _column(rates).repeat(len(HALF_LIVES), axis=1)
            first = [math.sqrt(max(rate, 1.0 / MINUTE_S) / MINUTE_S) for rate in rates]
            self.moves = _column(first).repeat(len(MOVE_HALF_LIVES), axis=1)
        else:
            self.levels, self.moves, shifted = self._moved(rates, 1.0)
            self.settled = np.where(shifted, 0, self.settled + 1)
        self.closed = self.closed + 1
        rows = rounded(np.column_stack((self.levels, _scale(self.levels, self.moves))), 4)
        self.past = [
            (*before, tuple(row))[-LONGEST:]
            for before, row in zip(self.past, rows.tolist(), strict=True)
        ]

    def _moved(
        self, rates: Sequence[float], share: float
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return levels and mean surprises after `share` of a minute of `rates`.

        And whether the level shifted: levels that lag behind it begin anew at the nearest.
        """
        rate, nearest = _column(rates), self.levels[:, NEAREST : NEAREST + 1]
        surprise = np.abs(rate - nearest)
        least = 1.0 / (self.closed[:, None] + 2)
        gain = 1.0 - (1.0 - np.maximum(_MOVE_GAIN, least)) ** share
        moves = self.moves + gain * (surprise - self.moves)
        least = 1.0 / (self.settled[:, None] + 2)
        gain = 1.0 - (1.0 - np.maximum(_GAIN, least)) ** share
        levels = self.levels + gain * (rate - self.levels)
        # Surprises of a higher rate were larger, by the square root where they are chance.
        usual = levels[:, SHORT : SHORT + 1]
        smaller = np.sqrt(np.minimum(1.0, usual / np.maximum(levels, 1.0 / MINUTE_S)))
        far = np.abs(levels - usual) > SHIFT_MOVES * moves[:, -1:] * smaller
        far[:, : SHORT + 1] = False
        nearest = levels[:, NEAREST : NEAREST + 1]
        return np.where(far, nearest, levels), moves, np.asarray(far.any(axis=1))

    def weights(self) -> Floats:
        """Return how much each expert counts for each horizon, (n, 6, experts); they sum to 1."""
        least = self.errors.min(axis=2, keepdims=True)
        weights = (self.errors / np.maximum(least, 1e-3) + 1e-3) ** -SHARPNESS
        weights = weights / weights.sum(axis=2, keepdims=True)
        seen = np.maximum(0, self.closed - UNLEARNT_MINUTES)[:, None, None]
        trust = seen / (seen + 20.0)
        return np.asarray(trust * weights + (1.0 - trust) * _FIRST)

    def _score(self, ats: Sequence[float]) -> None:
        """Score what was said one horizon ago for each horizon that the last minute ends."""
        known = _ROWS[len(self.past[0]) >= ANCHORS]
        if not len(known):
            return
        rates = np.array(self.rates)
        found = np.maximum.accumulate(rates[:, ::-1], axis=1)[:, ANCHORS[known] - 1]
        last = rates[:, -1 - ANCHORS[known]]
        usual = [day.behind(lived, at) for lived, at in zip(self.day, ats, strict=True)]
        if (times := _times(usual)) is not None:
            last = last * times[:, known]
        ripe = len(_ROWS[_oldest(int(self.closed[0]), len(self.past[0])) >= ANCHORS])
        if ripe:
            self._learn(times, rates, found[:, :ripe], last[:, :ripe])
        classes = np.searchsorted(JUMPS, np.sqrt(found) - np.sqrt(last))
        self.jumps[:, known] *= _FADE
        self.jumps[np.arange(len(rates))[:, None], known, classes] += 1.0

    def _learn(self, times: Floats | None, rates: Floats, found: Floats, last: Floats) -> None:
        """Learn from the largest rates `found` over the first horizons, `last` before them."""
        ripe = _ROWS[: found.shape[1]]
        spans = ANCHORS[ripe]
        then = np.array([[past[-span] for span in spans.tolist()] for past in self.past])
        recent = np.stack(
            [rates[:, -2 * span : -span].max(axis=1) for span in spans.tolist()], axis=1
        )
        said, scales = experts(then[:, :, :-1], recent), then[:, :, -1]
        if times is not None:
            said = said * times[:, ripe, None]
        seen = self.closed[:, None] - UNLEARNT_MINUTES - spans + 1
        gain = np.maximum(_ERROR_GAIN, 1.0 / (seen + 1.0))[:, :, None]
        error = (found[:, :, None] - said) / scales[:, :, None]
        width = np.sqrt(np.maximum(self.widths[:, ripe], 0.05))
        # What both would have said by what was known before this minute.
        learnt = plain.learnt_quantiles(
            (self.weights()[:, ripe] * said).sum(axis=2), scales * width, self._below()[:, ripe]
        )
        lost = plain.losses(
            found, learnt, plain.plain_quantiles(last, plain.shares(self.jumps)[:, ripe])
        )
        opinion_gain = np.maximum(_OPINION_GAIN, 1.0 / seen)[:, :, None]
        self.losses[:, ripe] += opinion_gain * (lost - self.losses[:, ripe])
        off = np.clip(error, -_TAKEN, _TAKEN) - self.biases[:, ripe]
        self.biases[:, ripe] += gain * off
        beside = np.minimum(np.abs(error - self.biases[:, ripe]), _TAKEN)
        self.errors[:, ripe] += gain * (beside - self.errors[:, ripe])
        blended = (self.weights()[:, ripe] * error).sum(axis=2)
        classes = np.searchsorted(EDGES, blended / width)
        width_gain = np.maximum(_WIDTH_GAIN, 1.0 / (seen + 10.0))
        far = np.minimum(np.abs(blended), _TAKEN)
        self.widths[:, ripe] += width_gain * (far - self.widths[:, ripe])
        self.counts[:, ripe] *= _FADE
        self.counts[np.arange(len(rates))[:, None], ripe, classes] += 1.0

    def _below(self) -> Floats:
        """Return the chances of errors of no more than each of EDGES, (n, 6, edges)."""
        below = self.counts.cumsum(axis=2)[:, :, :-1] + PRIOR_MINUTES * PRIOR
        return np.asarray(below / (self.counts.sum(axis=2, keepdims=True) + PRIOR_MINUTES))

    def outlooks(self) -> list[Outlook]:
        """Return what is expected of the largest rate over each horizon, for each rate.

        As much of a minute has passed for all since the last one closed (`open_share`).
        """
        share = open_share(self.at[0], self.closed_at[0])
        levels, moves, _ = self._moved(self.rps, share)
        levels[:, 0] = self.rps
        rates = np.column_stack((np.array(self.rates), self.rps))
        spans = np.minimum(ANCHORS, rates.shape[1])
        recent = np.maximum.accumulate(rates[:, ::-1], axis=1)[:, spans - 1]
        said = experts(levels[:, None].repeat(len(ANCHORS), axis=1), recent)
        usual = [
            None if at is None else day.ahead(known, at)
            for known, at in zip(self.day, self.at, strict=True)
        ]
        last = _column(self.rps).repeat(len(ANCHORS), axis=1)
        if (times := _times(usual)) is not None:
            said, last = said * times[:, :, None], last * times
        location = (self.weights() * said).sum(axis=2)
        width = np.sqrt(np.maximum(self.widths, 0.05))
        scale = _scale(levels, moves)[:, None] * width
        trusted = plain.trusted(self.losses, self.jumps)
        jumped = plain.shares(self.jumps)
        parts = zip(location, scale, self._below(), last, jumped, trusted, strict=True)
        return [
            Outlook(location=at, scale=size, below=below, last=rates, jumped=jumps, trusted=share)
            for at, size, below, rates, jumps, share in parts
        ]

    def written(self) -> list[ForecastState]:
        """Return what is to be remembered of each."""
        # Six digits: with four, a mean of hours would stand still between its small steps.
        arrays = tuple(rounded(array, 6) for array in self.arrays())
        levels, moves, biases, errors, widths, counts, jumps, losses = map(_rows, arrays)
        states = [
            ForecastState(
                at=self.at[i],
                rps=self.rps[i],
                phase=self.phase[i],
                closed_at=self.closed_at[i],
                closed=closed,
                settled=settled,
                rates=self.rates[i],
                levels=tuple(levels[i]),
                moves=tuple(moves[i]),
                past=self.past[i],
                biases=tuple(map(tuple, biases[i])),
                errors=tuple(map(tuple, errors[i])),
                widths=tuple(widths[i]),
                counts=tuple(map(tuple, counts[i])),
                jumps=tuple(map(tuple, jumps[i])),
                losses=tuple(map(tuple, losses[i])),
                day=self.day[i],
            )
            for i, (closed, settled) in enumerate(
                zip(self.closed.tolist(), self.settled.tolist(), strict=True)
            )
        ]
        keep(states, arrays)
        return states

    def arrays(self) -> Arrays:
        """Return the arrays of the book, as `opened` gives them."""
        return (
            *(self.levels, self.moves, self.biases, self.errors),
            *(self.widths, self.counts, self.jumps, self.losses),
        )


def _first(states: Sequence[ForecastState]) -> Arrays:
    """Return the arrays of `states` that have counted nothing yet."""
    shape = (len(states), len(ANCHORS), EXPERTS)
    return (
        np.array([state.levels for state in states]),
        np.array([state.moves for state in states]),
        np.zeros(shape),
        np.ones(shape),
        FIRST_WIDTHS[None].repeat(len(states), axis=0),
        np.zeros((*shape[:2], len(EDGES) + 1)),
        np.zeros((*shape[:2], len(JUMPS) + 1)),
        np.zeros((*shape[:2], plain.OPINIONS * len(LEVELS))),
    )


def shape_of(state: ForecastState) -> tuple[int, ...]:
    """Return what the states of one book have in common: how long their rows are.

    And how far back what was said can be scored; both stay alike as minutes pass.
    """
    known = len(state.past)
    oldest = _oldest(state.closed, known)
    return len(state.rates), known, oldest, len(state.levels), len(state.counts)


def _oldest(closed: int, past: int) -> int:
    """Return how many minutes ago the oldest thing was said that can be scored."""
    return min(closed - UNLEARNT_MINUTES, past)


def ended(at: float | None, phase: float, closed_at: float | None, now: float) -> int | None:
    """Return after how many unknown minutes that of `at` closes with `now`; None: it does not."""
    if at is None or minute_of(now, phase) <= minute_of(at, phase):
        return None
    if closed_at is None:
        return 0
    return max(0, minute_of(at, phase) - minute_of(closed_at, phase) - 1)


def open_share(at: float | None, closed_at: float | None) -> float:
    """Return how much of the last measurement is of a minute that is not closed: that is new."""
    if at is None or closed_at is None:
        return 1.0
    return min(1.0, (at - closed_at) / MINUTE_S)


def experts(levels: Floats, recent: Floats) -> Floats:
    """Return what each expert says for each horizon, (n, horizons, experts), requests/s.

    Args:
        levels: (n, horizons, levels).
        recent: Largest rate of as many minutes back as the horizon goes ahead, (n, horizons).
    """
    usual = levels[:, :, SHORT]
    trend = usual + 0.5 * (usual - levels[:, :, SHORT + 2])
    return np.concatenate((levels, np.maximum(trend, 0.0)[:, :, None], recent[:, :, None]), axis=2)


def _times(usual: Sequence[Floats | None]) -> Floats | None:
    """Return the factors of the time of day, (n, 6); None where all are 1."""
    if all(times is None for times in usual):
        return None
    plain = np.ones(len(ANCHORS))
    return np.array([plain if times is None else times for times in usual])


def _scale(levels: Floats, moves: Floats) -> Floats:
    """Return the mean surprise of a minute to expect, (n,), requests/s; above 0."""
    recent = [math.exp(float(MOVE_SHARES @ row)) for row in np.log(moves + 1e-9)]
    chance = CHANCE_SHARE * np.sqrt(levels[:, SHORT] / MINUTE_S)
    return np.maximum(np.maximum(recent, chance), 0.5 / MINUTE_S)


def minute_of(at: float, phase: float) -> int:
    """Return the number of the minute that Unix second `at` lies in."""
    return math.floor((at - phase) / MINUTE_S)


def short(value: float) -> float:
    """Return `value` to four digits: what is kept from plan to plan shall be small."""
    return float(f"{value:.4g}") if value else 0.0


def _column(values: Sequence[float]) -> Floats:
    return np.array(values, np.float64)[:, None]


def _rows(values: Floats) -> list[Any]:
    rows: list[Any] = values.tolist()
    return rows
