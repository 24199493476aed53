"""The decision log: every plan that changed something and what it was made from, for replay."""

import os
from pathlib import Path

import structlog

from trimtab.models.codec import Record, dump_record

MAX_BYTES = 64 * 2**20
"""Size after which the file is renamed to `.1` and begun anew."""

_log = structlog.get_logger(__name__)


class DecisionLog:
    """Appends records to a file, one JSON document a line."""

    def __init__(self, path: str | None) -> None:
        """Keep the path; None keeps no log."""
        self._path = None if path is None else Path(path)

    def append(self, record: Record) -> None:
        """Append `record`. A file that cannot be written is logged and costs no decision."""
        if self._path is None:
            return
        try:
            if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as file:
                file.write(dump_record(record) + b"\n")
        except OSError as error:
            _log.error("decision log not written", path=str(self._path), why=str(error))
