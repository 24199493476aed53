"""What can go wrong with a local cluster, each with what to do about it."""


class ClusterError(Exception):
    """The root of this package's errors; its text is meant for a person."""


class ClusterUnavailable(ClusterError):
    """No cluster can be had by any of the ways that we know."""


class BuildFailed(ClusterUnavailable):
    """A program could not be built from its Go module."""


class StartFailed(ClusterError):
    """A program of the cluster died or did not become ready in time."""


class CommandFailed(ClusterError):
    """A kubectl command that had to succeed did not."""
