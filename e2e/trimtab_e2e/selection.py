"""Choose how to get a cluster, always in the same order, and never without saying why not."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trimtab_e2e import binaries
from trimtab_e2e.binaries import Binaries, Progress, print_progress
from trimtab_e2e.errors import ClusterUnavailable
from trimtab_e2e.localcluster import LocalCluster
from trimtab_e2e.providers import Given, Kind, Own, Provider
from trimtab_e2e.registry import Options, State

KUBECONFIG_VARIABLE = "TRIMTAB_KUBECONFIG"
ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
KIND_VARIABLE = "TRIMTAB_KIND"
"""Set, it asks for kind whatever else there is."""

_PROVIDERS: dict[str, Callable[[Binaries], Provider]] = {"own": Own, "kind": Kind, "given": Given}


def select_cluster(
    name: str = "test",
    options: Options | None = None,
    *,
    kubeconfig: Path | None = None,
    detached: bool = False,
    keep: bool = False,
    progress: Progress = print_progress,
) -> LocalCluster:
    """Make a cluster (not yet started) in the first way that works.

    1. The cluster of `kubeconfig`, or of the variable TRIMTAB_KUBECONFIG. The usual KUBECONFIG is
       not read, on purpose: it may well lead to production, and tests create and kill things.
       Then kind, if TRIMTAB_KIND asks for it.
    2. Processes of our own, from the folder KUBEBUILDER_ASSETS or from our cache.
    3. kind, when it is installed and a Docker engine answers.
    4. Processes of our own, built from their Go modules now.

    Raises ClusterUnavailable, with a remedy, when none works.
    """
    given = kubeconfig or _path_from(KUBECONFIG_VARIABLE)
    chosen = replace(options or Options(), kubeconfig=None if given is None else str(given))
    provider = choose_provider(given, progress)
    return LocalCluster(provider, name, chosen, detached=detached, keep=keep)


def attach(state: State) -> LocalCluster:
    """Take hold of a cluster that another process started."""
    return LocalCluster(_PROVIDERS[state.provider](state.binaries), state=state, detached=True)


def choose_provider(given: Path | None, progress: Progress) -> Provider:
    """Choose as `select_cluster` does, and build what that way needs."""
    given = given or _path_from(KUBECONFIG_VARIABLE)
    if given is not None:
        return _given(given, progress)
    if os.environ.get(KIND_VARIABLE):
        return _kind(progress)
    cached = binaries.cached()
    assets = _assets(progress)
    if assets is not None:
        others = cached or binaries.build(control_plane=False, progress=progress)
        return Own(replace(others, control_plane=assets))
    if cached is not None:
        return Own(cached)
    if _kind_works():
        return _kind(progress)
    return Own(binaries.build(progress=progress))


def _given(kubeconfig: Path, progress: Progress) -> Provider:
    if not kubeconfig.is_file():
        raise ClusterUnavailable(
            f"there is no kubeconfig at {kubeconfig}: correct or unset {KUBECONFIG_VARIABLE}"
        )
    return Given(binaries.build(control_plane=False, progress=progress))


def _kind(progress: Progress) -> Provider:
    if not _kind_works():
        raise ClusterUnavailable(
            f"{KIND_VARIABLE} asks for kind, but there is no kind on the PATH or no Docker engine"
            " answers: install and start both, or unset it"
        )
    return Kind(binaries.build(control_plane=False, progress=progress))


def _kind_works() -> bool:
    return shutil.which("kind") is not None and _docker_answers()


def _assets(progress: Progress) -> Path | None:
    folder = _path_from(ASSETS_VARIABLE)
    if folder is None:
        return None
    missing = binaries.missing_programs(folder)
    if missing:
        progress(
            f"{ASSETS_VARIABLE} lacks {', '.join(missing)} (envtest ships an API server without"
            " controllers); not using it"
        )
        return None
    return folder


def _docker_answers() -> bool:
    try:
        result = subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
