"""What holds for every manifest that the models accept."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategies import manifests
from trimtab.api.base import Resource
from trimtab.api.crd import KINDS
from trimtab.units import DURATION_PATTERN, format_duration, parse_duration

SLOW = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
@given(data=st.data())
@SLOW
def test_a_manifest_survives_reading_and_writing(kind: type[Resource], data: st.DataObject) -> None:
    manifest = data.draw(manifests(kind))
    resource = kind.model_validate(manifest)
    written = resource.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert written["spec"] == manifest["spec"]
    assert kind.model_validate(written) == resource


@given(text=st.from_regex(DURATION_PATTERN, fullmatch=True))
def test_every_duration_of_the_pattern_is_read(text: str) -> None:
    assert 0 <= parse_duration(text) < 2**63 / 1e9  # what the API server's int64 nanoseconds hold


@given(seconds=st.floats(0, 1e8))
def test_a_written_duration_is_read_as_about_the_same(seconds: float) -> None:
    read = parse_duration(format_duration(seconds))
    # From an hour on, seconds are cut off.
    coarsest = 0.0005 if seconds < 1 else 0.05 if seconds < 10 else 0.5 if seconds < 3600 else 60
    assert abs(read - seconds) <= coarsest + 1e-9
