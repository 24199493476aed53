"""Answers of earlier plans, kept for as long as what they follow from stays as it is."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REMEMBERED = 16_384
"""Answers that are kept of each kind, those that were found last: three questions for each of 5,000
deployments. A fleet of more than are kept would find each forgotten when it is asked again."""


class Kept(Generic[K, V]):
    """The last answer for each key. Equal inputs have equal answers, so no plan depends on it."""

    def __init__(self) -> None:
        self._known: dict[K, tuple[object, V]] = {}

    def answer(self, key: K, inputs: object, found: Callable[[], V]) -> V:
        """Return the answer for `key`, which is found anew where it was not for these inputs."""
        known = self._known.get(key)
        if known is not None:
            if known[0] == inputs:
                return known[1]
            del self._known[key]
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        answer = found()
        self._known[key] = inputs, answer
        return answer
