"""Where clusters live on disk, which exist, and which ports each of them holds."""

import contextlib
import fcntl
import json
import random
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trimtab_e2e.binaries import Binaries, cache_dir
from trimtab_e2e.errors import ClusterError, StartFailed

PORT_NAMES = (
    "etcd",
    "etcd-peer",
    "apiserver",
    "prometheus",
    "fleet",
    "operator-health",
    "operator-metrics",
)

# Below the range that kernels take for outgoing connections, so that no passing connection
# sits on a port between our choosing it and a program's binding it.
PORTS = range(20_000, 30_000)
_STATE = "cluster.json"


@dataclass(frozen=True)
class Options:
    """What a cluster consists of besides its control plane."""

    kwok: bool = True
    prometheus: bool = True
    scrape_interval_s: int = 5
    real_nodes: bool = False  # see node.py: pods run, so KWOK and the stand-in's pages are not used
    operator_metrics: str | None = None  # HOST:PORT of the operator's own /metrics
    kubeconfig: str | None = None  # of the cluster to use, where one is given


@dataclass
class State:
    """What `down` and `status` must know about a cluster that another process started."""

    name: str
    provider: str  # own, kind or given: see providers.py
    folder: Path
    ports: dict[str, int]
    options: Options
    binaries: Binaries
    pids: dict[str, int] = field(default_factory=dict)

    def save(self) -> None:
        """Write the state, atomically, because other processes read it at any time."""
        temporary = self.folder / f".{_STATE}"
        temporary.write_text(json.dumps(asdict(self), indent=1, default=str))
        temporary.rename(self.folder / _STATE)


def create(name: str, provider: str, options: Options, binaries: Binaries) -> State:
    """Make a new cluster's folder and reserve its ports."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise ClusterError(f"{name!r} cannot name a cluster: use a-z, 0-9 and -")
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root):
        folder = root / f"{name}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)  # it holds credentials
        state = State(name, provider, folder, _free_ports(), options, binaries)
        state.save()
    return state


def load_all() -> list[State]:
    """Give every cluster that has a folder, running or not, by name."""
    states = [_load(path) for path in sorted(_root().glob(f"*/{_STATE}"))]
    return [state for state in states if state is not None]


def remove(state: State) -> None:
    """Forget a cluster: delete its folder, and with it the reservation of its ports."""
    shutil.rmtree(state.folder, ignore_errors=True)


def _root() -> Path:
    return cache_dir() / "clusters"


def _load(path: Path) -> State | None:
    try:
        document = json.loads(path.read_text())
        document["folder"] = Path(document["folder"])
        # A cluster of an older version of this code lacks some; it must still be stoppable.
        document["ports"] = dict.fromkeys(PORT_NAMES, 0) | document["ports"]
        document["options"] = Options(**document["options"])
        programs = document["binaries"]
        control_plane = programs["control_plane"]
        document["binaries"] = Binaries(
            control_plane=None if control_plane is None else Path(control_plane),
            kwok=Path(programs["kwok"]),
            prometheus=Path(programs["prometheus"]),
        )
        return State(**document)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # just being removed, or written by another version of this code


def _free_ports() -> dict[str, int]:
    taken = {port for state in load_all() for port in state.ports.values()}
    candidates = random.sample(PORTS, 500)
    free = (port for port in candidates if port not in taken and _can_bind(port))
    ports = dict(zip(PORT_NAMES, free, strict=False))
    if len(ports) < len(PORT_NAMES):
        raise StartFailed(f"no free ports between {PORTS.start} and {PORTS.stop - 1}")
    return ports


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
        return False


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
