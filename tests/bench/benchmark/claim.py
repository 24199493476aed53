"""The product's claim, measure by measure, read off the rows of all scenarios."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from trimtab.simulate.compare import Row
from trimtab.simulate.optimum import ATTAINS
from trimtab.simulate.report.page import Section
from trimtab.simulate.report.scatter import HINDSIGHT, OURS

HPAS = ("hpa-queue", "hpa-batch")
_NEAR = 0.001
"""Share of requests by which a rival may attain less than Trimtab and count as equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """What the most important deployment of a scenario attains under Trimtab."""

    scenario: str
    deployment: str
    beside: float | None
    """With the others there, all seeds."""
    alone: float | None
    """With the same requests, pools and seeds, and no other deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One measure."""

    measure: str
    bar: str
    here: str


def row_of(section: Section, policy: str) -> Row | None:
    """Return the row of a policy."""
    return next((row for row in section.rows if row.policy == policy), None)


def attains(row: Row | None) -> bool:
    """Tell whether a policy met all targets of 99 % of all requests, in the mean over seeds."""
    return row is not None and (row.mean("attainment") or 0.0) >= ATTAINS


def cheapest(section: Section, least: float = ATTAINS) -> Row | None:
    """Return the cheapest rival that attains at least that share."""
    others = [
        (cost, row)
        for row in section.rows
        if not row.policy.startswith(OURS) and row.policy != HINDSIGHT
        if (row.mean("attainment") or 0.0) >= least
        if (cost := row.mean("usd")) is not None
    ]
    return min(others, key=lambda pair: pair[0])[1] if others else None


def as_good(section: Section, ours: Row) -> Row | None:
    """Return the cheapest rival that attains no less than Trimtab, to a tenth of a percent."""
    return cheapest(section, (ours.mean("attainment") or 0.0) - _NEAR)


def ratio(section: Section) -> float | None:
    """Return Trimtab's cost over that of the cheapest rival that attains 99 %."""
    ours, rival = row_of(section, OURS), cheapest(section)
    if ours is None or rival is None:
        return None
    mine, theirs = ours.mean("usd"), rival.mean("usd")
    return mine / theirs if mine is not None and theirs else None


def claims(sections: Sequence[Section], priorities: Sequence[Priority]) -> list[Claim]:
    """Return every measure of the claim, as far as the scenarios that were run tell."""
    return [
        _attainment(sections),
        *_rivals(sections),
        _optimum(sections),
        _turns(sections),
        *(_priority(each) for each in priorities),
    ]


def _attainment(sections: Sequence[Section]) -> Claim:
    able = [each for each in sections if attains(row_of(each, HINDSIGHT)) or cheapest(each)]
    missed = [each.name for each in able if not attains(row_of(each, OURS))]
    return Claim(
        measure="scenarios where Trimtab attains >= 99 %, of those where anybody does",
        bar="all",
        here=f"{len(able) - len(missed)} of {len(able)}" + _named("missed", missed),
    )


def _rivals(sections: Sequence[Section]) -> Iterable[Claim]:
    known = [(found, each) for each in sections if (found := ratio(each)) is not None]
    fair = [(found, each) for found, each in known if attains(row_of(each, OURS))]
    dearer = [each.name for found, each in known if found > 1.0]
    yield Claim(
        measure="cost against the cheapest rival that attains >= 99 %, mean",
        bar="<= 0.85",
        here=f"{_mean(found for found, _ in known)} over {len(known)} scenarios; "
        f"{_mean(found for found, _ in fair)} over the {len(fair)} where Trimtab attains it, too",
    )
    yield Claim(
        measure="the same, in each",
        bar="<= 1.00",
        here=f"{len(known) - len(dearer)} of {len(known)}" + _named("dearer", dearer),
    )


def _optimum(sections: Sequence[Section]) -> Claim:
    rows = [row for each in sections if (row := row_of(each, OURS)) is not None]
    known = [found for row in rows if (found := row.mean("usd_to_optimum")) is not None]
    return Claim(
        measure="cost against the clairvoyant schedule of equal attainment, mean",
        bar="<= 1.25",
        here=f"{_mean(known)} over {len(known)} of {len(rows)} scenarios",
    )


def _turns(sections: Sequence[Section]) -> Claim:
    pairs = []
    for section in sections:
        ours = row_of(section, OURS)
        theirs = [row for name in HPAS if (row := row_of(section, name)) is not None]
        if ours is not None and theirs:
            mine = ours.mean("direction_changes_per_hour") or 0.0
            least = min(row.mean("direction_changes_per_hour") or 0.0 for row in theirs)
            pairs.append((mine, least, section.name))
    more = [name for mine, least, name in pairs if mine > least]
    return Claim(
        measure="direction changes per hour, Trimtab and the calmer HPA, mean",
        bar="below HPA's",
        here=f"{_mean((mine for mine, *_ in pairs), 1)} and "
        f"{_mean((least for _, least, _ in pairs), 1)}; no more than HPA's in "
        f"{len(pairs) - len(more)} of {len(pairs)} scenarios" + _named("more", more),
    )


def _priority(found: Priority) -> Claim:
    return Claim(
        measure=f"{found.scenario}: attainment of {found.deployment}, the most important, beside "
        "the others and alone",
        bar="equal",
        here=f"{_percent(found.beside)} % and {_percent(found.alone)} %",
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.2f}"


def _mean(values: Iterable[float], digits: int = 2) -> str:
    known = list(values)
    return f"{fmean(known):.{digits}f}" if known else "-"


def _named(word: str, names: Sequence[str]) -> str:
    return f"; {word}: {', '.join(names)}" if names else ""
