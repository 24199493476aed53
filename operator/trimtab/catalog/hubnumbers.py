"""Numbers in a `config.json` under the several names that families have for one thing."""

from collections.abc import Mapping
from typing import Any


def number(config: Mapping[str, Any], *names: str) -> float:
    """Return the first of the fields `names` that is a number, or 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return 0.0
