"""Follow the serving pods of a real API server, through its restarts."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
from pydantic import ValidationError
from urllib3.exceptions import HTTPError

from trimtab.api.acceleratorpool import AcceleratorPool, Hardware
from trimtab.api.base import GROUP, VERSION
from trimtab.api.llmdeployment import LLMDeployment, ModelSpec
from trimtab.api.naming import MANAGED_BY_LABEL, MANAGER
from trimtab.catalog import accelerators
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator
from trimtab_e2e.serving_pods import Document, EngineKind, accelerator_name, kind_of, state_of

_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"
_WATCH_S = 300
RETRY_S = 1.0
_CONNECT_S = 5

_log = logging.getLogger(__name__)

OnList = Callable[[list[Document]], None]
OnEvent = Callable[[str, Document], None]


class Cluster:
    """The part of the API that the stand-in needs. Blocking."""

    def __init__(self, kubeconfig: Path) -> None:
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        client.configuration.retries = False
        self._core = kubernetes.client.CoreV1Api(client)
        self._custom = kubernetes.client.CustomObjectsApi(client)

    def list_pods(self) -> tuple[list[Document], str]:
        """Return the serving pods and the resource version to watch from."""
        answer = self._core.list_pod_for_all_namespaces(
            label_selector=_SELECTOR, _preload_content=False, _request_timeout=30
        )
        document = json.loads(answer.data)
        return document["items"], document["metadata"]["resourceVersion"]

    def watch_pods(self, resource_version: str) -> Iterator[tuple[str, Document]]:
        """Yield (type, pod) until the server ends the watch, which it does every few minutes."""
        answer = self._core.list_pod_for_all_namespaces(
            label_selector=_SELECTOR,
            resource_version=resource_version,
            watch=True,
            timeout_seconds=_WATCH_S,
            _preload_content=False,
            _request_timeout=(_CONNECT_S, _WATCH_S + 30),
        )
        with answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    def engine_kind(self, pod: Document) -> EngineKind:
        """Return the engine that a pod would run.

        Raises:
            InvalidInput: The pod and the objects that it belongs to do not tell.
        """
        state = state_of(pod)
        if state is None:
            raise InvalidInput("labels", "the pod belongs to no LLMDeployment", "Label it")
        deployment = self._get(LLMDeployment.PLURAL, state.deployment, state.namespace)
        pool = self._get(AcceleratorPool.PLURAL, state.pool, None) if state.pool else None
        try:
            model = (
                None
                if deployment is None
                else ModelSpec.model_validate(deployment["spec"]["model"])
            )
            hardware = None if pool is None else AcceleratorPool.model_validate(pool).spec.hardware
        except ValidationError as error:
            raise InvalidInput("spec", str(error), "Install the CRDs of this version") from error
        return kind_of(pod, model, _accelerator(accelerator_name(pod), hardware))

    def _get(self, plural: str, name: str, namespace: str | None) -> dict[str, Any] | None:
        arguments = (GROUP, VERSION, *([namespace] if namespace else []), plural, name)
        ask = (
            self._custom.get_namespaced_custom_object
            if namespace
            else self._custom.get_cluster_custom_object
        )
        try:
            found: dict[str, Any] = ask(*arguments, _request_timeout=10)
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return found


class PodWatcher(threading.Thread):
    """Lists and watches in a thread of its own, and starts again after every failure."""

    def __init__(self, cluster: Cluster, on_list: OnList, on_event: OnEvent) -> None:
        super().__init__(name="pod-watcher", daemon=True)
        self._cluster = cluster
        self._on_list = on_list
        self._on_event = on_event
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the thread end at its next chance."""
        self._stopped.set()

    def run(self) -> None:
        """Follow the pods until stopped."""
        while not self._stopped.is_set():
            try:
                pods, version = self._cluster.list_pods()
                self._on_list(pods)
                for kind, pod in self._cluster.watch_pods(version):
                    self._on_event(kind, pod)
            except (kubernetes.client.ApiException, HTTPError, OSError, ValueError) as error:
                _log.warning("no answer from the API server, trying again: %s", error)
                self._stopped.wait(RETRY_S)


def _accelerator(name: str, hardware: Hardware | None) -> Accelerator:
    if hardware is not None:
        return accelerators.from_hardware(name, hardware, "")
    known = accelerators.get(name)
    if known is None:
        raise InvalidInput(
            "accelerator", f"the catalogue does not know {name}", "Write spec.hardware in its pool"
        )
    return known
