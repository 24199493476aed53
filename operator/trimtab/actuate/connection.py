"""How to reach the API server: inside a cluster by its service account, outside by a kubeconfig."""

from dataclasses import dataclass
from typing import Any

import kubernetes.client
import kubernetes.config
import yaml
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import DynamicClient, Resource

from trimtab.actuate.kinds import Kind
from trimtab.errors import InvalidInput
from trimtab.version import VERSION

USER_AGENT = f"trimtab/{VERSION}"
_NO_KUBECONFIG = (ConfigException, OSError, UnicodeDecodeError, yaml.YAMLError, TypeError)
"""What the client's loader raises for a file that is none; the last where it is YAML of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A client of the API server that never retries by itself and asks for no discovery."""

    configuration: Any
    """A kubernetes.client.Configuration: host, certificates, token and its refresh."""
    client: Any
    """A kubernetes.client.ApiClient."""
    dynamic: Any
    """A kubernetes.dynamic.DynamicClient."""

    def resource(self, kind: Kind) -> Any:
        """Return the dynamic client's handle on `kind`."""
        group, _, version = kind.api_version.rpartition("/")
        return Resource(
            prefix="apis" if group else "api",
            group=group,
            api_version=version,
            kind=kind.kind,
            namespaced=kind.namespaced,
            name=kind.plural,
            client=self.dynamic,
            subresources={
                "status": {
                    "kind": kind.kind,
                    "name": f"{kind.plural}/status",
                    "namespaced": kind.namespaced,
                }
            },
        )


def connect(kubeconfig: str | None = None) -> Connection:
    """Return a connection to the cluster.

    Args:
        kubeconfig: Path of a kubeconfig; None takes the pod's service account, else KUBECONFIG
            or the default kubeconfig.

    Raises:
        InvalidInput: There is neither a service account nor a usable kubeconfig.
    """
    configuration = kubernetes.client.Configuration()
    try:
        _load(kubeconfig, configuration)
    except _NO_KUBECONFIG as error:
        raise InvalidInput(
            "--kubeconfig",
            f"no cluster can be reached with it ({' '.join(str(error).split())})",
            "Set KUBECONFIG or --kubeconfig to a file that kubectl works with",
        ) from error
    # Whoever asks decides about retries: a write that is sent again behind our back may be one
    # that the lease no longer covers.
    configuration.retries = False
    configuration.connection_pool_maxsize = 16
    client = kubernetes.client.ApiClient(configuration)
    client.user_agent = USER_AGENT
    return Connection(
        configuration=configuration,
        client=client,
        dynamic=DynamicClient(client, discoverer=_NoDiscovery),
    )


def own_namespace(kubeconfig: str | None = None) -> str:
    """Return the namespace of the kubeconfig's current context, as kubectl takes it."""
    try:
        _, current = kubernetes.config.list_kube_config_contexts(kubeconfig)
    except _NO_KUBECONFIG:
        return "default"
    return current["context"].get("namespace") or "default"


def _load(kubeconfig: str | None, configuration: Any) -> None:
    if kubeconfig is not None:
        kubernetes.config.load_kube_config(kubeconfig, client_configuration=configuration)
        return
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        kubernetes.config.load_kube_config(client_configuration=configuration)


class _NoDiscovery:
    """Stands in for the client's discovery, which asks for every group and writes to /tmp."""

    def __init__(self, client: Any, cache_file: str | None) -> None:
        """Take what the dynamic client passes; nothing is needed."""
