"""Ask over HTTP whether a program is ready."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path


def answers(url: str, *, token: str | None = None, ca_file: Path | None = None) -> bool:
    """Tell whether a GET is answered with 200; any failure means not (yet)."""
    request = urllib.request.Request(url)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        with urllib.request.urlopen(request, timeout=2, context=context) as response:
            return int(response.status) == 200
    except (OSError, urllib.error.URLError):
        return False
