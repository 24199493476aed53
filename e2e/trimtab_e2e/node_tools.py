"""What a real node runs beside the kubelet: containerd, runc, CNI plugins, iptables.

They come from the machine's own Debian or Ubuntu packages, unpacked into the cache: nothing is
installed, so the machine stays as it was. Building them from Go modules was the alternative: runc
needs C and libseccomp's headers, iptables is not Go at all, and together they would add minutes to
every cold build, where the packages take seconds.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab_e2e.binaries import Progress, cache_dir, print_progress
from trimtab_e2e.errors import BuildFailed, ClusterUnavailable

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    # Libraries of the above; a slim machine need not have them.
    "libseccomp2",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
)
_SYSTEM_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "ldd": "libc-bin",
}
_IPTABLES = ("iptables", "iptables-save", "iptables-restore")


@dataclass(frozen=True)
class NodeTools:
    """The unpacked packages."""

    folder: Path

    @property
    def cni_plugins(self) -> Path:
        """The folder of the CNI plugins."""
        return self.folder / "usr" / "lib" / "cni"

    def program(self, name: str) -> str:
        """Give the path of a program."""
        for part in ("usr/bin", "usr/sbin"):
            if (self.folder / part / name).exists():
                return str(self.folder / part / name)
        raise ClusterUnavailable(f"the packages of this machine hold no {name}")

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs to find the others and its libraries."""
        library = next((self.folder / "usr" / "lib").glob("*-linux-gnu"))
        folders = [self.folder / "bin", self.folder / "usr" / "bin", self.folder / "usr" / "sbin"]
        return {
            "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]),
            "LD_LIBRARY_PATH": str(library),
            "XTABLES_LIBDIR": str(library / "xtables"),
        }


def node_tools(progress: Progress = print_progress) -> NodeTools:
    """Give the tools, fetched once with apt-get; needs root, because a real node does.

    Raises:
        ClusterUnavailable: This machine cannot run a real node; the text says what it lacks.
    """
    if os.geteuid() != 0:
        raise ClusterUnavailable("a real node needs root: run this as root, or leave it out")
    for program, package in _SYSTEM_PROGRAMS.items():
        if shutil.which(program) is None:
            raise ClusterUnavailable(f"a real node needs {program}: install {package}")
    folder = cache_dir() / "bin" / "node-tools"
    if not folder.is_dir():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise ClusterUnavailable(
                "a real node takes its programs from Debian or Ubuntu packages, and there is no"
                f" apt-get and dpkg-deb here. It needs: {', '.join(PACKAGES)}"
            )
        progress("fetching containerd, runc, CNI plugins and iptables (seconds, the first time)...")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fetch(folder)
    return NodeTools(folder)


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        downloads, root = Path(temporary) / "packages", Path(temporary) / "root"
        downloads.mkdir()
        root.mkdir()
        try:
            _run(["apt-get", "download", "-q", *PACKAGES], downloads)
        except BuildFailed:  # its lists may be old, or never have been fetched
            _run(["apt-get", "update", "-q"], downloads)
            _run(["apt-get", "download", "-q", *PACKAGES], downloads)
        for package in sorted(downloads.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(root)], downloads)
        (root / "bin").mkdir()
        for name in _IPTABLES:  # what the package's own script would choose
            (root / "bin" / name).symlink_to("../usr/sbin/xtables-nft-multi")
        root.rename(folder)


def _run(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildFailed(f"`{' '.join(command)}` failed:\n{result.stderr.strip()}")
