"""Wait for something in a cluster, with a deadline and a message."""

import time
from collections.abc import Callable

from trimtab_e2e.errors import ClusterError


def eventually(
    check: Callable[[], bool], what: str, timeout_s: float = 30.0, pause_s: float = 0.2
) -> None:
    """Poll until the check holds; a command that fails meanwhile counts as `not yet`."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if check():
                return
            problem = ""
        except ClusterError as error:
            problem = f": {error}"
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s{problem}"
        time.sleep(pause_s)
