"""Every reason that a user can meet has a row in the troubleshooting page."""

import re
from pathlib import Path

from trimtab.api.conditions import Reason

PAGE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"


def test_every_reason_has_a_row_and_every_row_a_reason() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert rows == {str(reason) for reason in Reason}
