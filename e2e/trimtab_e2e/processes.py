"""Start programs in the background, and stop exactly those: by pid, never by name."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from trimtab_e2e.errors import StartFailed

POLL_S = 0.05
_GRACE_S = 3.0
_PROC = Path("/proc")
_GUARDIAN = Path(__file__).with_name("guardian.py")


class Child:
    """A running program: one that we started, or one known by its pid from an earlier run."""

    def __init__(
        self, name: str, pid: int, log: Path, popen: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self._popen = popen

    def alive(self) -> bool:
        """Tell whether the program runs; a stranger that inherited its pid does not count."""
        if self._popen is not None:
            return self._popen.poll() is None
        return _belongs_to(self.log.parent.parent, self.pid)

    def send(self, signum: signal.Signals) -> None:
        """Send a signal if the program still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def tail(self, lines: int = 15) -> str:
        """Give the last lines of the program's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def rss_mib(self) -> float:
        """Give the resident memory in MiB, 0 for a program that is gone."""
        return _rss_kib(self.pid) / 1024

    def close(self) -> None:
        """Reap the program, which must have ended."""
        if self._popen is not None:
            self._popen.wait()


def spawn(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    group: int | None,
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a program that logs to `logs/NAME.log` of the folder.

    It joins the process group of a guardian, which ends it when we die; without a group it
    becomes the leader of its own session and lives on.
    """
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=None if env is None else {**os.environ, **env},
            process_group=group,
            start_new_session=group is None,
        )
    return Child(name, popen.pid, log, popen)


def wait_until(
    ready: Callable[[], bool], what: str, children: Iterable[Child], timeout_s: float = 180.0
) -> None:
    """Poll until ready; fail at once, with the log, when one of the children has died."""
    watched = list(children)
    deadline = time.monotonic() + timeout_s
    while not ready():
        for child in watched:
            if not child.alive():
                raise StartFailed(f"{child.name} died; the end of {child.log}:\n{child.tail()}")
        if time.monotonic() > deadline:
            logs = "\n".join(f"{child.name}: {child.log}\n{child.tail()}" for child in watched)
            raise StartFailed(f"{what} was not ready after {timeout_s:.0f} s\n{logs}")
        time.sleep(POLL_S)


def stop(children: Iterable[Child]) -> None:
    """End the programs: politely, then after a few seconds for certain."""
    running = list(children)
    for child in running:
        child.send(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while any(child.alive() for child in running) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    kill(running)


def kill(children: Iterable[Child]) -> None:
    """End the programs at once, and wait until they are gone."""
    running = list(children)
    for child in running:
        child.send(signal.SIGKILL)
    for child in running:
        while child.alive():
            time.sleep(POLL_S)
        child.close()


class Guardian:
    """A small process that ends our children and removes their folder when we die.

    It notices our death by the end of the pipe between us, so that also `kill -9` leaves
    nothing behind. (The kernel's parent-death signal would fire when the *thread* that
    started a child ends, and a test may well start a cluster from a thread.)
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        command = [sys.executable, str(_GUARDIAN), str(folder), "keep" if keep else "remove"]
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
        )

    @property
    def group(self) -> int:
        """The process group that children must join."""
        return self._popen.pid

    def dismiss(self) -> None:
        """Let the guardian go: the children have been stopped in the ordinary way."""
        self._popen.communicate(b"q")


def _belongs_to(folder: Path, pid: int) -> bool:
    """Tell whether a process is of a cluster: each of them works in the cluster's folder."""
    if _PROC.is_dir():
        with contextlib.suppress(OSError):  # it is gone, or a zombie
            return os.readlink(_PROC / str(pid) / "cwd").startswith(str(folder))
        return False
    return str(folder) in _ps("args=", pid)  # all but a few name the folder in their arguments


def _rss_kib(pid: int) -> int:
    if _PROC.is_dir():
        with contextlib.suppress(OSError):
            pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") // 1024
        return 0
    return int(_ps("rss=", pid).strip() or 0)


def _ps(column: str, pid: int) -> str:
    """Ask ps where there is no /proc (macOS); slim containers have /proc but no ps."""
    result = subprocess.run(
        ["ps", "-ww", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return result.stdout
