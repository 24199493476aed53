"""The bugs that the tests of the fail-safe contract hunt, by the names of docs/contract.md."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is put in the place of a text that is there once."""

    path: str
    """Below operator/trimtab."""
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One bug, and the tests of which one has to fail with it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Below tests/unit, as pytest names them: each of them alone."""


def _bug(name: str, tests: str, *edits: tuple[str, str, str]) -> Bug:
    return Bug(
        name=name,
        edits=tuple(Edit(path=path, old=old, new=new) for path, old, new in edits),
        tests=tuple(tests.split()),
    )


EVIDENCE, HISTORY = "planner/evidence.py", "planner/history.py"
TRANSPORT, PROMETHEUS = "observe/transport.py", "observe/prometheus.py"
COVERAGE, QUERIES, PRICING = "observe/coverage.py", "observe/queries.py", "observe/pricing.py"

BUGS = (
    _bug(
        "a doubtful signal read as 0",
        "planner/test_evidence.py::test_any_doubtful_signal_in_use_is_doubt "
        "planner/test_evidence.py::test_doubtful_arrivals_name_their_defect_and_never_read_as_zero",
        (EVIDENCE, "return self.reason is Reason.METRICS_FRESH", "return True"),
        (EVIDENCE, "arrivals if usable else None", "arrivals or 0.0"),
    ),
    _bug(
        "the fallback taken at once",
        "planner/test_doubt.py::TestFallback::"
        "test_a_long_outage_adds_up_to_it_and_a_short_one_nothing",
        ("planner/case.py", "FALLBACK_AFTER_S = 180.0", "FALLBACK_AFTER_S = 0.0"),
    ),
    _bug(
        "the engines' count taken for a gateway's",
        "observe/test_either.py::test_a_gateway_may_hold_what_no_engine_has_seen",
        ("observe/signals.py", "hidden = each.gateway is not None", "hidden = False"),
    ),
    _bug(
        "pages of an outage an hour ago",
        "observe/test_either.py::test_of_an_outage_an_hour_ago_nothing_is_left",
        ("observe/scrape.py", "if since <= page.at <= now + 1.0", "if page.at <= now + 1.0"),
    ),
    _bug(
        "a rate over the window where pages cover a part",
        "observe/test_either.py::test_where_it_answers_now_and_then_rates_stay_right",
        ("observe/pages.py", "min(1.0, covered / config.rate_window_s)", "1.0"),
    ),
    _bug(
        "no deadline but the socket's",
        "observe/test_prometheus.py::test_a_drip_feed_cannot_outlast_the_deadline",
        (TRANSPORT, "outcome.get(timeout=seconds)()", "outcome.get(timeout=60.0)()"),
    ),
    _bug(
        "`Retry-After` obeyed, as the client does by itself",
        "observe/test_prometheus.py::test_retry_after_is_not_obeyed",
        (
            TRANSPORT,
            "max_retries=0",
            'max_retries=__import__("urllib3").Retry(total=3, status_forcelist=(429, 503))',
        ),
    ),
    _bug(
        "warnings and `isPartial` ignored",
        "observe/test_flavours.py::test_an_answer_in_part_is_refused_with_its_reason",
        (PROMETHEUS, "self._check_whole(adapter.body)", "pass"),
    ),
    _bug(
        "redirects followed",
        "observe/test_prometheus.py::test_redirects_are_not_followed",
        (
            TRANSPORT,
            "status=answer.status_code, preload_content=False",
            "status=answer.status_code, preload_content=False, headers=answer.headers",
        ),
    ),
    _bug(
        "no limit of the body, packed or not",
        "observe/test_prometheus.py::test_a_body_without_end_is_cut "
        "observe/test_prometheus.py::test_a_packed_body_that_is_not_read",
        (TRANSPORT, "if len(body) > MAX_BODY_BYTES or", "if len(body) > 2**40 or"),
    ),
    _bug(
        "a lower bound read as the whole, beside every other doubt read as a number",
        "observe/test_signals.py::test_some_of_the_replicas_are_a_lower_bound",
        (COVERAGE, "if having != expected:", "if having and not expected:"),
    ),
    _bug(
        "what is no number read as 0",
        "observe/test_prometheus.py::test_what_is_no_finite_number_is_handed_on_as_such",
        (PROMETHEUS, "        return math.nan", "        return 0.0"),
    ),
    _bug(
        "values that nobody checks",
        "observe/test_signals.py::test_absurd_gauges_are_invalid",
        (COVERAGE, "if not math.isfinite(value):\n", "if value is None:\n"),
        (COVERAGE, "if value < 0:", "if value is None:"),
    ),
    _bug(
        "an old value read as a new one, beside every other doubt read as a number",
        "observe/test_signals.py::test_samples_older_than_three_scrapes_are_stale",
        (COVERAGE, "limit = STALE_AFTER_SCRAPES * clock.scrape_s", "limit = math.inf"),
    ),
    _bug(
        "a rate taken as it comes",
        "observe/test_late_scrapes.py::test_while_a_scrape_is_late_demand_stays_what_it_was",
        (COVERAGE, "return whole / (whole - age_s + apart / 2)", "return 1.0"),
    ),
    _bug(
        "arrivals as the difference of a counter",
        "observe/test_pages.py::test_a_restart_is_neither_spike_nor_dip",
        ("observe/pages.py", "before, resets = 0.0, resets + 1", "resets += 1"),
    ),
    _bug(
        "arrivals added up over the jobs",
        "observe/test_queries.py::"
        "test_every_query_makes_one_value_per_pod_before_anything_is_added_up",
        (
            QUERIES,
            "return f\"max by ({', '.join(('namespace', 'pod', *more))})",
            "return f\"sum by ({', '.join(('namespace', 'pod', *more))})",
        ),
    ),
    _bug(
        "rates of a name without its random end added up over clusters: twice the demand",
        "observe/test_queries.py::test_labels_of_the_cluster_are_on_every_selector",
        (QUERIES, "where = (*wanted.where, *self._labels)", "where = wanted.where"),
    ),
    _bug(
        "a scale-down that needs no window",
        "planner/test_history.py::test_a_window_is_whole_after_its_length_and_not_before",
        (
            HISTORY,
            "return bool(memory.samples) and memory.samples[0].at <= now - window_s",
            "return True",
        ),
    ),
    _bug(
        "doubt that does not empty the window",
        "planner/test_history.py::test_doubt_empties_the_window",
        (HISTORY, "if new and _follows(memory, now) else forget(memory)", ""),
    ),
    _bug(
        "series joined by the pod's name alone",
        "observe/test_signals.py::test_another_tenant_s_pod_has_no_influence",
        (
            "observe/readings.py",
            'namespace, name = sample.labels.get("namespace"),',
            'namespace, name = "assistants",',
        ),
    ),
    _bug(
        "samples of the future read as new ones",
        "observe/test_signals.py::test_samples_from_the_future_are_invalid",
        (COVERAGE, "if -AHEAD_S <= age <= limit", "if age <= limit"),
    ),
    _bug(
        "a price taken as it comes",
        "observe/test_pricing.py::test_a_price_that_cannot_be_true_changes_nothing",
        (PRICING, "if not _plausible(usd, pool, nodes) or (", "if usd < 0 and ("),
    ),
    _bug(
        "the last good one forgotten when the feed fails",
        "observe/test_pricing.py::test_a_feed_that_dies_leaves_its_last_good_price_and_its_date",
        (
            PRICING,
            "except Unavailable:\n                return dict(self._good)",
            "except Unavailable:\n                return {}",
        ),
    ),
)
