"""The first process of a real node's namespaces (run as a script): it sets them up, then reaps.

What the node's programs write under /run, /var/lib and /var/log stays in these namespaces, so the
machine's own folders are as they were. When this process ends, the kernel ends all others of the
node, its containers included, and takes its mounts and network with it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_HIDDEN = "/run"
# What a kubelet sets the kernel to, machine-wide. It finds these values, and so leaves the real
# ones alone.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
_COVERED = ("/var/lib", "/var/log")


def main(ready: Path) -> None:
    """Set up, say so by making the file `ready`, and reap until told to end."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _mount("-t", "tmpfs", "tmpfs", _HIDDEN)
    for folder in _COVERED:
        upper, work = (Path(f"{_HIDDEN}/covers{folder}/{name}") for name in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir={folder},upperdir={upper},workdir={work}"
        _mount("-t", "overlay", "overlay", "-o", options, folder)
    for name, value in _SYSCTLS.items():
        shown = Path(f"{_HIDDEN}/sysctls/{name}")
        shown.parent.mkdir(parents=True, exist_ok=True)
        shown.write_text(f"{value}\n")
        _mount("--bind", str(shown), f"/proc/sys/{name}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    ready.touch()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
