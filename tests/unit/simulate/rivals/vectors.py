"""The rivals' own decisions, as tests/data/rivals/README.md says where they come from."""

import gzip
import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[3] / "data" / "rivals"


def load(name: str) -> Any:
    """Return the file `name`.json.gz."""
    with gzip.open(_FOLDER / f"{name}.json.gz", "rt") as file:
        return json.load(file)
