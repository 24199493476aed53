"""The gateway in front of a deployment, which knows the demand even when no replica runs."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel
from trimtab.api.rules import Rule


class GatewayType(ApiEnum):
    """Whose metrics tell how many requests come."""

    LLM_D = "llm-d"
    """The endpoint picker of llm-d or of the Gateway API Inference Extension."""
    VLLM_ROUTER = "vllm-router"
    ENVOY = "envoy"
    ISTIO = "istio"
    LITELLM = "litellm"


class GatewaySpec(ApiModel):
    """The gateway through which the clients of this deployment come."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="name",
            cel="self.type != 'envoy' || has(self.name)",
            holds=lambda self: self.type is not GatewayType.ENVOY or self.name is not None,
            message="must be set where type is envoy: it is the envoy_cluster_name of the metrics",
        ),
    )

    type: GatewayType
    """Which gateway it is."""
    name: Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=512)] | None = None
    """What its metrics call this deployment.

    Default: its Service with istio, and with the others the name that clients ask for.
    """
