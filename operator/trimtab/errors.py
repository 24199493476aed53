"""The exception tree. Each branch says who must act.

TrimtabError
├── InvalidInput      the user: a manifest, flag or file is wrong; names field and remedy
├── Unavailable       the world: a server does not answer, refuses, or answers nonsense
│   └── LostLeadership  another process holds the lease: this one must exit
└── Bug               us: a state that the code holds impossible
"""


class TrimtabError(Exception):
    """Root of all errors that Trimtab raises on purpose."""


class InvalidInput(TrimtabError):
    """What the user gave cannot be used.

    Args:
        field: Where it is, as the user spells it (`spec.latency.timeToFirstToken`, `--prometheus`).
        problem: What is wrong with it.
        remedy: What to write instead.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}. {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy


class Unavailable(TrimtabError):
    """Something outside this process did not do its part; trying later may help."""


class LostLeadership(Unavailable):
    """The lease is no longer ours; nothing may be written any more."""


class Bug(TrimtabError):
    """An invariant of ours does not hold. Please report it with the decision log."""
