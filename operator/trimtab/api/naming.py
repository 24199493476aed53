"""Labels, annotations and names of what Trimtab owns. Selector labels never change."""

import hashlib

from trimtab.api.base import GROUP

MANAGER = "trimtab"
"""Field manager of every server-side apply, and value of the managed-by label."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
COMPONENT = "serving-engine"
DEPLOYMENT_LABEL = f"{GROUP}/deployment"
"""Name of the LLMDeployment: selector of the Service over all variants."""
VARIANT_LABEL = f"{GROUP}/variant"
"""Name of the child Deployment: with DEPLOYMENT_LABEL its selector."""
POOL_LABEL = f"{GROUP}/pool"
ACCELERATOR_LABEL = f"{GROUP}/accelerator"
TENSOR_LABEL = f"{GROUP}/tensor-parallel"
PIPELINE_LABEL = f"{GROUP}/pipeline-parallel"
DISCOVERED_LABEL = f"{GROUP}/discovered"
"""On an AcceleratorPool that Trimtab found on the nodes."""

METRICS_PATH_ANNOTATION = f"{GROUP}/metrics-path"
"""On pods whose metrics page is not /metrics."""
PAUSE_ANNOTATION = f"{GROUP}/paused"
"""`"true"` on an LLMDeployment stops every write to its children."""
HASH_ANNOTATION = f"{GROUP}/applied-hash"
"""Digest of what was last applied, so that a removed field is noticed."""
REPLICAS_ANNOTATION = f"{GROUP}/replicas"
"""On a child Deployment: the replicas that were decided, whoever has edited `spec.replicas` since.
"""

SERVING_PORT = 8000
SERVING_PORT_NAME = "http"
MAX_NAME = 63
MAX_DEPLOYMENT_NAME = 40
"""Longest name of an LLMDeployment, so that its children's names stay readable."""


def variant_name(deployment: str, pool: str, *, tensor: int, pipeline: int) -> str:
    """Return the name of the child Deployment of one variant: at most 63 characters, unique."""
    shape = f"tp{tensor}" + (f"pp{pipeline}" if pipeline > 1 else "")
    return _bounded(f"{deployment}-{pool.replace('.', '-')}-{shape}")


def _bounded(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9].rstrip('-.')}-{digest}"
