"""How fast exact mode serves: a million requests of Azure's chat service over a few replicas.

Run as `python -m bench.simulate.speed [REQUESTS]` in tests/; prints, and asserts nothing.
"""

import random
import sys
import time
from collections.abc import Iterator
from functools import cache

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Request
from trimtab.simulate.gateway import Gateway, GatewaySettings, Router
from trimtab.simulate.inputs.spec import NamedTrace
from trimtab.simulate.inputs.traces import named
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.pace import Pace

FLEETS = ((4, 20.0), (4, 80.0), (32, 160.0))
"""(replicas, requests/s over all of them): light, 20 a replica, many replicas."""
MODEL, DEVICE = "Llama-3.1-8B", "nvidia-h100-sxm"


def serve(count: int, replicas: int, rps: float, router: Router) -> tuple[float, Ledger]:
    """Return the seconds of CPU that `count` requests take, and what became of them."""
    geometry, accelerator = geometries.get(MODEL), accelerators.get(DEVICE)
    assert geometry is not None
    assert accelerator is not None
    settings = EngineSettings()
    tokens = kv_tokens(geometry, accelerator, Parallelism(), settings)
    assert isinstance(tokens, int)
    pace = Pace(step_model(geometry, accelerator, Parallelism(), settings), tokens)
    ledger = Ledger(LatencyTargets(ttft_s=1.0, itl_s=0.05))
    gateway = Gateway(GatewaySettings(router=router), ledger)
    for i in range(replicas):
        gateway.add(f"replica-{i}", Engine(pace, settings), lambda _: None, 0.0)
    _lengths()
    now = 0.0
    begun = time.process_time()
    for request in _requests(count, rps):
        gateway.arrive(request)
        now = request.arrival
    while gateway.in_flight:
        now += 600.0
        gateway.advance(now)
    return time.process_time() - begun, ledger


@cache
def _lengths() -> tuple[tuple[int, int], ...]:
    chat = named(NamedTrace.AZURE_CONV)
    lengths = zip(chat.input_tokens.tolist(), chat.output_tokens.tolist(), strict=True)
    return tuple((tokens, answer) for tokens, answer in lengths if tokens < 8000)


def _requests(count: int, rps: float) -> Iterator[Request]:
    lengths = _lengths()
    dice = random.Random(1)
    now = 0.0
    for i in range(count):
        now += dice.expovariate(rps)
        tokens, answer = lengths[i % len(lengths)]
        yield Request(id=i, arrival=now, input_tokens=tokens, output_tokens=answer)


def main(count: int) -> None:
    """Print the seconds of each router on each fleet."""
    for replicas, rps in FLEETS:
        for router in Router:
            seconds, ledger = serve(count, replicas, rps, router)
            total = ledger.total
            sys.stdout.write(
                f"{replicas:3} replicas, {rps:4.0f} rps, {router.value:18} "
                f"{count:,} requests in {seconds:6.1f} s: {1e6 * seconds / count:4.0f} s a million;"
                f" served {total.served:,}, met {total.met / total.settled:.1%}\n"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
