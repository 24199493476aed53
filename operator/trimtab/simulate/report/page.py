"""The report: one HTML file with everything in it, which is well-formed XML, too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from trimtab.models.load import LatencyTargets
from trimtab.simulate.compare import FIGURES, Figure, Row
from trimtab.simulate.report.pictures import charts_of, fleet_text
from trimtab.simulate.report.scatter import OURS, Scatter
from trimtab.simulate.report.svg import stamp, tag
from trimtab.simulate.result import Marker, RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One scenario."""

    name: str
    about: str
    rows: Sequence[Row]
    """One for each policy, over all seeds."""
    runs: Sequence[RunResult]
    """One run of each policy, of which there are pictures."""
    targets: Mapping[str, LatencyTargets] = field(default_factory=dict)
    """By NAMESPACE/NAME."""
    goal: float = 0.99
    """Share of requests within all targets that is to be reached."""
    bound_usd: float | None = None
    """What no policy that reaches the goal undercuts."""

    @property
    def scatter(self) -> Scatter:
        """The picture of all policies."""
        return Scatter(title=self.name, rows=self.rows, goal=self.goal, bound_usd=self.bound_usd)


def report(sections: Sequence[Section], title: str = "Trimtab: simulated policies") -> str:
    """Return the whole file. It loads nothing and needs no script to be read."""
    room = files("trimtab.simulate.report")
    style = room.joinpath("page.css").read_text("utf-8")
    script = room.joinpath("page.js").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", escape(title)),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("h1", escape(title)),
        tag(
            "p",
            "A request counts as served when it met all targets of its deployment; errors, losses "
            "and time-outs are misses. Costs are of the scored time. ± is half of the 95 % "
            "confidence interval over seeds.",
            class_="soft",
        ),
        *(tag("ul", *(_link(section) for section in sections)) for _ in sections[1:2]),
        *(_section(section) for section in sections),
        tag("div", "", id="tip"),
        tag("script", script),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _link(section: Section) -> str:
    return tag("li", tag("a", escape(section.name), href=f"#{section.name}"))


def _section(section: Section) -> str:
    means = {row.policy: row for row in section.rows}
    return tag(
        "section",
        tag("h2", escape(section.name)),
        tag("p", escape(section.about)),
        section.scatter.svg(),
        tag("h3", "All policies"),
        _table(section.rows),
        *_by_deployment(section.rows),
        tag("h3", "Run by run"),
        *(_run(run, section, means.get(run.policy)) for run in section.runs),
        id=section.name,
    )


def _table(rows: Sequence[Row]) -> str:
    shown = [f for f in FIGURES if any(row.figures[f.name] is not None for row in rows)]
    pools = sorted({pool for row in rows for pool in row.pool_hours})
    heads = [
        "policy",
        *(figure.heading for figure in shown),
        *(f"on {pool} (replica-h)" for pool in pools),
    ]
    body = [
        tag(
            "tr",
            tag("th", escape(row.policy), scope="row"),
            *(tag("td", _figure(row, figure)) for figure in shown),
            *(tag("td", f"{row.pool_hours.get(pool, 0.0):.2f}") for pool in pools),
            class_="own" if row.policy == OURS else None,
        )
        for row in rows
    ]
    notes = (
        "/ optimum: over the cheapest schedule found with knowledge of the future that attains as "
        "much. / bound: over what no policy that attains as much can undercut. / fixed: over the "
        "best fleet that never changes, in hindsight, at equal goodput; replica-hours of replicas "
        "that differ in size are not alike, their cost is. A dash: it attains too little to be "
        "compared. turns: times that a count of replicas changed direction."
    )
    return _wide(heads, body) + tag("p", notes, class_="soft small")


def _by_deployment(rows: Sequence[Row]) -> list[str]:
    """Return which deployment got how much of it, where there are several."""
    keys = sorted({key for row in rows for key in row.deployments})
    if len(keys) < 2:
        return []
    heads = ("deployment", *(row.policy for row in rows))
    body = [
        tag(
            "tr",
            tag("th", escape(key), scope="row"),
            *(tag("td", _share(row.deployments.get(key))) for row in rows),
        )
        for key in keys
    ]
    return [tag("h3", "Attained by each deployment (%)"), _wide(heads, body)]


def _wide(heads: Sequence[str], body: Sequence[str]) -> str:
    """Return a table that scrolls where it is wider than the page."""
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", escape(head), scope="col") for head in heads))),
            tag("tbody", *body),
        ),
        class_="wide",
    )


def _share(attained: float | None) -> str:
    return "-" if attained is None else f"{attained * 100.0:.2f}"


def _figure(row: Row, figure: Figure) -> str:
    found = row.figures[figure.name]
    if found is None:
        return escape(figure.text(None))
    value = escape(figure.text(found.mean))
    if found.half_width is None:
        return value
    return value + tag("span", f" ±{escape(figure.text(found.half_width))}", class_="ci")


def _run(run: RunResult, section: Section, row: Row | None) -> str:
    attained = "no request" if run.attainment is None else f"{run.attainment * 100:.2f} % attained"
    words = f" {attained}, ${run.cost_usd:,.2f}, seed {run.seed}"
    own = row is not None and row.policy == OURS
    parts = []
    for key, charts in charts_of(run, section.targets):
        one = run.deployments.get(key)
        got = (
            "" if one is None else f": {_share(one.attainment['all'])} % attained, ${one.usd:,.2f}"
        )
        parts.append(tag("h3", escape(key + got)))
        parts.append(tag("div", *(chart.svg() for chart in charts), class_="charts"))
    return tag(
        "details",
        tag("summary", tag("b", escape(run.policy)), escape(words)),
        tag("div", *parts, _decisions(run)),
        open="open" if own else None,
    )


def _decisions(run: RunResult) -> str:
    if not run.decisions:
        return tag("p", "It never changed anything.", class_="soft")
    heads = ("time (h:mm:ss)", "deployment", "why", "fleet asked for", "reason")
    body = [tag("tr", *_decision(marker)) for marker in run.decisions]
    return tag("h3", f"Decisions ({len(run.decisions)})") + tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))),
            tag("tbody", *body),
        ),
        class_="log",
    )


def _decision(marker: Marker) -> list[str]:
    return [
        tag("td", stamp(marker.at_s)),
        tag("td", escape(marker.deployment)),
        tag("td", escape(marker.why)),
        tag("td", escape(fleet_text(marker))),
        tag("td", escape(marker.message), class_="words"),
    ]
