"""Outlive a test process only long enough to end what it started (run as a script)."""

import os
import shutil
import signal
import sys
import time

_GRACE_S = 1.0


def main(folder: str, then: str) -> None:
    """Wait for the parent's word or death; on death end the whole process group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is our own, sent to the group below
    if sys.stdin.read(1) == "q":
        return
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    time.sleep(_GRACE_S)
    if os.fork() == 0:
        os.setsid()  # out of the group, to be there after its end
        os.killpg(group, signal.SIGKILL)
        if then == "remove":
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
