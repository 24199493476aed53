"""The load of a fleet as a person writes it: a trace, a rate over time, targets, a router."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from trimtab.api.base import Duration
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.simulate.gateway import GatewaySettings, Router
from trimtab.units import parse_duration
from trimtab_e2e import traces
from trimtab_e2e.traces import Profile, Row


class ServiceLoad(BaseModel):
    """What the clients of one LLMDeployment ask for, and what they expect."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True
    )

    trace: str = "azure-conv"
    """A trace of ours, or a CSV file with the columns t_s,input_tokens,output_tokens."""
    profile: tuple[tuple[float, float], ...] | None = None
    """Requests/s over time: (seconds from the start, rate) points with lines between."""
    scale: float = Field(default=1.0, gt=0)
    """Without a profile: the trace again and again, this many times as dense."""
    time_to_first_token: Duration | None = None
    inter_token_latency: Duration | None = None
    """Target of the mean gap between the tokens of an answer."""
    end_to_end: Duration | None = None
    router: Router = Router.LEAST_OUTSTANDING
    queue: int = Field(default=1000, ge=0)
    """Requests that may wait while no replica is ready."""
    client_timeout: Duration = "60s"
    """A client that has no first token by then gives up."""
    seed: int = 0
    """Chooses the row of the trace that comes first."""

    def rows(self, service: str) -> Iterator[Row]:
        """Return the requests, with times from the start of the load.

        Raises:
            InvalidInput: The trace or the profile is unusable.
        """
        trace = traces.load(self.trace)
        # Deployments with one trace and one seed must not get the same requests in step.
        start = Random(f"{self.seed} {service}").randrange(len(trace.rows))
        if self.profile is None:
            return traces.scale(trace, self.scale, start)
        return traces.shape(trace, Profile(self.profile), start)

    @property
    def targets(self) -> LatencyTargets:
        """Return the targets in seconds."""
        return LatencyTargets(
            ttft_s=_seconds(self.time_to_first_token),
            itl_s=_seconds(self.inter_token_latency),
            e2e_s=_seconds(self.end_to_end),
        )

    @property
    def gateway(self) -> GatewaySettings:
        """Return how the clients' gateway treats requests."""
        return GatewaySettings(
            router=self.router,
            queue=self.queue,
            client_timeout_s=parse_duration(self.client_timeout),
        )


_LOAD: TypeAdapter[dict[str, ServiceLoad]] = TypeAdapter(dict[str, ServiceLoad])


def parse(document: Mapping[str, Any]) -> dict[str, ServiceLoad]:
    """Return the loads in a document that maps NAMESPACE/NAME to each of them.

    Raises:
        InvalidInput: It is no such document.
    """
    try:
        loads = _LOAD.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "load"
        raise InvalidInput(field, first["msg"], "See e2e/trimtab_e2e/fleet_load.py") from error
    for name in loads:
        if name.count("/") != 1:
            raise InvalidInput(name, "it names no LLMDeployment", "Write NAMESPACE/NAME")
    return loads


def _seconds(text: str | None) -> float | None:
    return None if text is None else parse_duration(text)
