"""A stretch of engine steps with one and the same batch, which need not be walked one by one."""

from math import sqrt


class Stretch:
    """Step j (from 0) of `steps` takes `first_s + j * growth_s`, the first begins at `start`.

    Times are computed from `start` and never accumulated, so that they do not depend on where a
    caller paused.
    """

    __slots__ = ("done", "ends_at", "first_s", "growth_s", "start", "steps")

    def __init__(self, start: float, first_s: float, growth_s: float, steps: int) -> None:
        self.start = start
        self.first_s = first_s
        self.growth_s = growth_s
        self.steps = steps
        self.done = 0
        """Steps whose end has been reported."""
        self.ends_at = self.end(steps)

    def end(self, count: int) -> float:
        """Return when the first `count` steps are over."""
        return self.start + count * self.first_s + self.growth_s * (count * (count - 1) / 2)

    def ended_by(self, time: float) -> int:
        """Return how many steps are over at `time`."""
        if time >= self.ends_at:
            return self.steps
        if self.steps == 1 or time < self.start + self.first_s:
            return 0
        elapsed = time - self.start
        # Positive root of growth/2 k^2 + (first - growth/2) k = elapsed, in the form that is
        # stable for a small growth; rounding is mended below.
        linear = self.first_s - self.growth_s / 2
        root = 2 * elapsed / (linear + sqrt(max(0.0, linear**2 + 2 * self.growth_s * elapsed)))
        count = min(int(root), self.steps)
        while count < self.steps and self.end(count + 1) <= time:
            count += 1
        while count > 0 and self.end(count) > time:
            count -= 1
        return count

    def cut_at(self, time: float, *, ahead: int = 0) -> None:
        """Let the stretch end with the step that runs at `time`, or just before `time`.

        `ahead` more steps were chosen by then, if one of its own had begun before.
        """
        count = self.ended_by(time)
        if count == 0 or self.end(count) < time:
            count += 1
        if time > self.start:
            count += ahead
        if count < self.steps:
            self.steps = count
            self.ends_at = self.end(count)
