"""One serving replica of the judge: continuous batching over pages, by a step law of its own.

A step decodes one token of every request that has its prompt, and computes prompt tokens of others
up to a budget. Between two events nothing but decoding happens, so a whole stretch of such steps is
taken at once: its time is a sum in closed form, and no time or page is rounded by that.
"""

import heapq
import math
from collections import OrderedDict, deque
from dataclasses import dataclass

PAGE = 16
"""Tokens of one page of the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What one step takes: a constant, and something for each thing that is in it."""

    step_s: float
    """Weights read, kernels launched."""
    decode_s: float
    """For each request that decodes."""
    context_s: float
    """For each token of cache that a decoding request reads."""
    prompt_s: float
    """For each prompt token computed."""
    pair_s: float
    """For each pair of a prompt token and one before it: attention."""
    pages: int
    """Pages of the cache."""
    most: int = 256
    """Requests that run at once."""
    budget: int = 2048
    """Tokens in one step."""

    def takes(self, decodes: int, context: float, prompt: int = 0, pairs: float = 0.0) -> float:
        """Return the seconds of one step."""
        return (
            self.step_s
            + self.decode_s * decodes
            + self.context_s * context
            + self.prompt_s * prompt
            + self.pair_s * pairs
        )


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, and what came of it."""

    at_s: float
    inputs: int
    outputs: int
    session: int = -1
    """Equal for the turns of one conversation; -1 for a request that shares nothing."""
    shared: int = 0
    """Leading tokens that the turn before had, too."""
    first_s: float = math.inf
    """When its first token came."""
    last_s: float = math.inf
    """When its last token came."""
    failed: bool = False
    cached: int = 0
    """Prompt tokens that it found when it began."""
    made: int = 0
    """Tokens it has got."""
    todo: int = 0
    """Tokens to compute before it decodes: its prompt, and after an eviction its answer so far."""
    done: int = 0
    """Of those, computed."""
    held: int = 0
    """Pages it has; of one that decodes, when it began to."""
    ends: int = 0
    """Step of its replica in which its last token comes, once it decodes."""

    def in_time(self, ttft_s: float, itl_s: float) -> bool:
        """Whether it was answered whole, within both targets."""
        if self.failed or self.last_s == math.inf or self.first_s - self.at_s > ttft_s:
            return False
        gaps = self.outputs - 1
        return gaps < 1 or (self.last_s - self.first_s) / gaps <= itl_s


class Engine:
    """Runs requests in the order in which they come. Its caller keeps the clock.

    `end_s` is when the step, or stretch of steps, in hand ends: call `advance` then. `add` may
    bring it forward.
    """

    def __init__(self, law: Law) -> None:
        self.law = law
        self.end_s = math.inf
        self.waiting: deque[Request] = deque()
        self._filling: list[Request] = []
        """Those that run without their whole prompt, oldest first."""
        self._decoding: dict[int, Request] = {}
        """Those that decode, by id; in the order in which they began."""
        self._ends: list[tuple[int, int]] = []
        """Heap of their last steps; evicted ones are left in it."""
        self._phases = [0] * PAGE
        """How many of them need a page in the steps whose number has this remainder."""
        self._context = 0
        """Tokens of cache that they read in the next step."""
        self.held = 0
        """Pages of all that run."""
        self._kept: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """Tokens and pages left of the sessions that may come again, longest ago first."""
        self._kept_pages = 0
        self._step = 0
        self._begun_s = 0.0
        self._stretch = 0
        """Steps in hand; 0 with prompts in the one step in hand."""
        self._chunks: list[int] = []

    @property
    def open(self) -> int:
        """Requests that are not answered."""
        return len(self.waiting) + len(self._filling) + len(self._decoding)

    def add(self, request: Request, now: float) -> None:
        """Take a request in at `now`."""
        request.todo = request.inputs
        self.waiting.append(request)
        if self.end_s == math.inf:
            self._begin(now)
        elif self._stretch > 1 and len(self.waiting) == 1:
            self._shorten(now)

    def advance(self) -> list[Request]:
        """End what is in hand at `end_s`, go on with the next; return who has its answer."""
        now, answered = self.end_s, []
        steps, prompts = max(1, self._stretch), self._stretch == 0
        self._decode(steps)
        while self._ends and self._ends[0][0] <= self._step:
            step, name = heapq.heappop(self._ends)
            request = self._decoding.get(name)
            if request is not None and request.ends == step:
                self._leave(request)
                request.made, request.last_s = request.outputs, now
                answered.append(request)
        if prompts:
            answered += self._fill(now)
        self._begin(now)
        return answered

    def stop(self) -> tuple[list[Request], list[Request]]:
        """Return those that ran, lost, and those that had not begun."""
        lost = [*self._decoding.values(), *self._filling]
        rest = list(self.waiting)
        self.waiting.clear()
        self._filling, self._decoding, self._ends = [], {}, []
        self.end_s = math.inf
        return lost, rest

    def _begin(self, now: float) -> None:
        """Choose what comes next, and when it ends."""
        self._make_room()
        law, decodes = self.law, len(self._decoding)
        left = law.budget - decodes
        self._chunks, prompt, pairs = [], 0, 0.0
        for request in self._filling:
            chunk = min(left, request.todo - request.done)
            pairs += chunk * (request.done + 0.5 * chunk)
            prompt, left = prompt + chunk, left - chunk
            self._chunks.append(chunk)
        while left > 0 and self.waiting and decodes + len(self._filling) < law.most:
            if not self._admitted(self.waiting[0]):
                break
            request = self.waiting.popleft()
            self._filling.append(request)
            chunk = min(left, request.todo - request.done)
            pairs += chunk * (request.done + 0.5 * chunk)
            prompt, left = prompt + chunk, left - chunk
            self._chunks.append(chunk)
        self._begun_s = now
        if self._filling:
            self._stretch = 0
            self.end_s = now + law.takes(decodes, self._context, prompt, pairs)
        elif decodes:
            self._stretch = self._uneventful()
            self.end_s = now + self._lasts(self._stretch)
        else:
            self.end_s = math.inf

    def _lasts(self, steps: int) -> float:
        """Return the seconds of so many steps in which the same requests decode."""
        decodes = len(self._decoding)
        more = self.law.context_s * decodes * steps * (steps - 1) / 2.0
        return steps * self.law.takes(decodes, self._context) + more

    def _shorten(self, now: float) -> None:
        """End the stretch with the step in which `now` lies: somebody may join the next."""
        low, high = 1, self._stretch
        while low < high:
            middle = (low + high) // 2
            if self._begun_s + self._lasts(middle) >= now:
                high = middle
            else:
                low = middle + 1
        self._stretch = low
        self.end_s = self._begun_s + self._lasts(low)

    def _uneventful(self) -> int:
        """Return the steps until somebody has its answer or pages run out; at least 1."""
        while self._ends[0][1] not in self._decoding or (
            self._decoding[self._ends[0][1]].ends != self._ends[0][0]
        ):
            heapq.heappop(self._ends)
        steps = self._ends[0][0] - self._step
        free = self.law.pages - self.held
        rounds = free // len(self._decoding)
        if rounds * PAGE >= steps:
            return steps
        free -= rounds * len(self._decoding)
        for extra in range(PAGE):
            free -= self._phases[(self._step + extra) % PAGE]
            if free < 0:
                return max(1, min(steps, rounds * PAGE + extra))
        return steps

    def _decode(self, steps: int) -> None:
        """Give every decoding request so many tokens, and the pages for them."""
        decodes = len(self._decoding)
        rounds, rest = divmod(steps, PAGE)
        self.held += rounds * decodes + sum(
            self._phases[(self._step + extra) % PAGE] for extra in range(rest)
        )
        self._context += decodes * steps
        self._step += steps
        self._drop_kept()

    def _fill(self, now: float) -> list[Request]:
        """Compute the chunks of the step; those that have their prompts begin to decode."""
        still, answered = [], []
        for request, chunk in zip(self._filling, self._chunks, strict=True):
            request.done += chunk
            if request.done < request.todo:
                still.append(request)
                continue
            request.made += 1
            if request.made == 1:
                request.first_s = now
            if request.made >= request.outputs:
                self.held -= request.held
                self._keep(request, request.held)
                request.last_s = now
                answered.append(request)
                continue
            request.ends = self._step + request.outputs - request.made
            self._decoding[id(request)] = request
            heapq.heappush(self._ends, (request.ends, id(request)))
            self._phases[(self._step - request.todo) % PAGE] += 1
            self._context += request.todo + 1
        self._filling = still
        return answered

    def _leave(self, request: Request) -> None:
        """Take a decoding request out, with its pages, as of the step now."""
        del self._decoding[id(request)]
        made = request.outputs - (request.ends - self._step)
        tokens = request.inputs + made - 1
        began = self._step - (tokens - request.todo)
        self._phases[(began - request.todo) % PAGE] -= 1
        self._context -= tokens + 1
        self.held -= _pages(tokens)
        request.made = made
        if made >= request.outputs:
            self._keep(request, _pages(tokens))

    def _admitted(self, request: Request) -> bool:
        """Give a request the pages of its prompt; False where they are not there."""
        tokens, kept = self._kept.get(request.session, (0, 0))
        pages = _pages(request.todo)
        alone = not self._decoding and not self._filling
        # One page in a hundred is left for those that decode.
        if not alone and self.held + pages > 0.99 * self.law.pages:
            return False
        if kept:
            del self._kept[request.session]
            self._kept_pages -= kept
        whole = min(tokens, request.shared) // PAGE * PAGE
        request.done = request.cached = min(whole, request.todo - 1)
        request.held = pages
        self.held += pages
        self._drop_kept()
        return True

    def _make_room(self) -> None:
        """Send back who came last, until there are pages for the next step."""
        while len(self._decoding) + len(self._filling) > 1 and (
            self.held + self._phases[self._step % PAGE] > self.law.pages
        ):
            if self._filling:
                request = self._filling.pop()
                self.held -= request.held
            else:
                request = next(reversed(self._decoding.values()))
                self._leave(request)
            request.todo, request.done = request.inputs + request.made, 0
            self.waiting.appendleft(request)

    def _keep(self, request: Request, pages: int) -> None:
        """Leave a session's tokens in the pages that nobody else needs."""
        if request.session >= 0:
            _, before = self._kept.pop(request.session, (0, 0))
            self._kept[request.session] = (request.inputs + request.outputs - 1, pages)
            self._kept_pages += pages - before
            self._drop_kept()

    def _drop_kept(self) -> None:
        while self._kept and self.held + self._kept_pages > self.law.pages:
            _, (_, pages) = self._kept.popitem(last=False)
            self._kept_pages -= pages


def _pages(tokens: int) -> int:
    return -(-tokens // PAGE)
