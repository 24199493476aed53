"""What an image holds, as a CycloneDX document: run as a script by the image's build.

    python sbom.py SITE_PACKAGES > sbom.cdx.json

It reads what is installed, not what was asked for, and needs nothing but Python. Packages of the
base image are not in it: whoever publishes that image says what is in there.
"""

import json
import platform
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

_SUBJECT = "trimtab"
_LICENSE = "License :: "
_LONGEST = 80  # some packages put the whole text of their licence where its name belongs


def bom(site: Path) -> dict[str, Any]:
    """Describe the packages in a folder, Trimtab as the subject and the others as its parts.

    Raises:
        LookupError: Trimtab is not installed there.
    """
    found = {_name(each): each for each in distributions(path=[str(site)])}
    if _SUBJECT not in found:
        raise LookupError(f"{_SUBJECT} is not installed in {site}: name its site-packages folder")
    subject = _component(found.pop(_SUBJECT), "application")
    interpreter = {
        "type": "platform",
        "bom-ref": "python",
        "name": "python",
        "version": platform.python_version(),
        "licenses": [{"license": {"id": "PSF-2.0"}}],
    }
    libraries = [_component(found[name], "library") for name in sorted(found)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": [interpreter, *libraries],
    }


def _component(package: Distribution, kind: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{_name(package)}@{package.version}"
    described: dict[str, Any] = {
        "type": kind,
        "bom-ref": purl,
        "name": package.metadata["Name"],
        "version": package.version,
        "purl": purl,
    }
    licences = _licences(package)
    return described | {"licenses": licences} if licences else described


def _licences(package: Distribution) -> list[dict[str, Any]]:
    expression = package.metadata["License-Expression"]
    if expression:
        return [{"expression": expression}]
    classifiers = package.metadata.get_all("Classifier") or []
    names = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith(_LICENSE)]
    written = (package.metadata["License"] or "").strip()
    if not names and written and len(written) <= _LONGEST and "\n" not in written:
        names = [written]
    return [{"license": {"name": name}} for name in names]


def _name(package: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()


if __name__ == "__main__":
    json.dump(bom(Path(sys.argv[1])), sys.stdout, indent=2)
