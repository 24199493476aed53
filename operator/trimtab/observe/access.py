"""What lets a query in at Prometheus: a mounted Secret's files, and headers such as a tenant's."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import InvalidInput, Unavailable

TOKEN, USERNAME, PASSWORD, CA = "token", "username", "password", "ca.crt"
"""Files of the folder, as the keys of a Secret: the first, or the next two; and the last beside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one source is asked. The files are read anew for every query, for Secrets rotate."""

    folder: Path | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Further headers."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a query.

        Raises:
            Unavailable: The folder cannot be read, or says neither or both of two ways in.
        """
        found = dict(self.extra)
        if self.folder is not None:
            found |= _authorization(self.folder)
        return found

    def verify(self) -> str | bool:
        """Return the file of the authority to trust, or True for those of the system."""
        authority = self.folder / CA if self.folder else None
        return str(authority) if authority and authority.exists() else True


def parse_header(text: str) -> tuple[str, str]:
    """Return the name and value of a header written `NAME=VALUE`.

    Raises:
        InvalidInput: It is not written so, or would break out of its line.
    """
    name, found, value = text.partition("=")
    if not found or not name.strip() or not (name + value).isprintable():
        raise InvalidInput(
            "prometheusHeader", f"{text!r} is no header", "Write it like X-Scope-OrgID=team-a"
        )
    return name.strip(), value.strip()


def _authorization(folder: Path) -> Mapping[str, str]:
    if not folder.is_dir():
        raise Unavailable(f"the folder {folder} with the access to Prometheus is not there")
    token, username, password = (_read(folder / name) for name in (TOKEN, USERNAME, PASSWORD))
    if token is not None and username is None and password is None:
        return {"Authorization": f"Bearer {token}"}
    if token is None and username is not None and password is not None:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    if token is None and username is None and password is None and (folder / CA).exists():
        return {}
    raise Unavailable(
        f"{folder} must hold either {TOKEN}, or {USERNAME} and {PASSWORD}, or {CA} alone"
    )


def _read(path: Path) -> str | None:
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{path} cannot be read: {type(error).__name__}") from error
    if not text or not text.isprintable():
        raise Unavailable(f"{path} is empty or more than one line")
    return text
