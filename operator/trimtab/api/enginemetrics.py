"""What a custom engine calls its signals: PromQL, for an engine whose metrics nobody here knows."""

from typing import Annotated

from pydantic import Field

from trimtab.api.base import ApiModel

PromQL = Annotated[str, Field(pattern=r"^[^\x00]*\S[^\x00]*$", min_length=1, max_length=1024)]
"""One expression; what it may read is what the operator may read."""


class EngineMetrics(ApiModel):
    """PromQL for the signals of a custom engine.

    Each expression gives one series for each replica, with the labels `namespace` and `pod`; series
    of other pods do not count. A plain series keeps the age of its samples; that of an expression
    cannot be known, so give a plain one for waitingRequests where there is one.
    """

    requests_per_second: PromQL
    """Requests that arrive at a replica in a second, such as rate(my_requests_total[1m])."""
    waiting_requests: PromQL
    """Requests in the queue of a replica."""
    running_requests: PromQL | None = None
    """Requests that a replica works on. Default: unknown."""
    kv_utilization: PromQL | None = None
    """Share of the KV cache of a replica in use, 0 to 1. Default: unknown."""
    input_tokens: PromQL | None = None
    """Mean length of a prompt, in tokens. Default: unknown, so the workload prior counts."""
    output_tokens: PromQL | None = None
    """Mean length of an answer, in tokens. Default: unknown, so the workload prior counts."""
    time_to_first_token: PromQL | None = None
    """Time to first token at the policy's percentile, in seconds. Default: unknown."""
    inter_token_latency: PromQL | None = None
    """Inter-token latency at the policy's percentile, in seconds. Default: unknown."""
    end_to_end: PromQL | None = None
    """End-to-end latency at the policy's percentile, in seconds. Default: unknown."""
