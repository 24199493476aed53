"""What the image says of its content: every pinned package, in the version that is installed."""

import json
import re
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trimtab.version import VERSION
from trimtab_e2e import images
from trimtab_e2e.sbom import bom

ROOT = Path(__file__).parents[3]
SITE = Path(sysconfig.get_path("purelib"))


def pinned() -> dict[str, str]:
    """Give the packages of the image and their versions, on a machine like this one."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements/runtime.txt").read_text().splitlines():
        if "==" in line:
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate():
                version = str(requirement.specifier).removeprefix("==")
                found[canonicalize_name(requirement.name)] = version
    return found


def test_the_bill_of_materials_names_every_pinned_package() -> None:
    document = bom(SITE)
    listed = {part["purl"] for part in document["components"] if "purl" in part}
    pins = pinned()
    assert len(pins) > 20
    assert {f"pkg:pypi/{name}@{version}" for name, version in pins.items()} <= listed


def test_trimtab_is_its_subject_and_no_part_of_itself() -> None:
    document = bom(SITE)
    subject = document["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("trimtab", VERSION)
    references = [part["bom-ref"] for part in [subject, *document["components"]]]
    assert len(set(references)) == len(references)


def test_every_part_has_a_licence_that_fits_on_a_line() -> None:
    pins = pinned()
    for part in bom(SITE)["components"]:
        if part["name"] in pins:
            for licence in part["licenses"]:
                name = licence.get("expression") or licence["license"].get("name")
                assert name
                assert len(name) <= 80


def test_a_folder_without_trimtab_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="name its site-packages folder"):
        bom(tmp_path)


def test_whoever_builds_can_pin_the_base_and_the_image_says_which_it_was() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert bases == ["${PYTHON_IMAGE}"] * 2
    assert any("image.base.name=${PYTHON_IMAGE}" in line for line in lines)
    # An argument before the first FROM is unknown after it, unless it is named again.
    assert [line for line in lines if line.startswith("ARG")][1:] == ["ARG PYTHON_IMAGE"]


def test_the_image_s_build_writes_it() -> None:
    assert "sbom.py . > /opt/trimtab/sbom.cdx.json" in (ROOT / "Dockerfile").read_text()


def test_the_image_that_our_tests_run_is_that_of_the_dockerfile() -> None:
    """What can be told without Docker: user, program, variables, pins and what is left out."""
    text = (ROOT / "Dockerfile").read_text()
    said = dict(re.findall(r"^(USER|ENTRYPOINT|CMD|ENV) (.+)$", text, re.MULTILINE))
    made = images.operator_image("trimtab", ())
    assert said["USER"] == made.user
    assert json.loads(said["ENTRYPOINT"]) == made.entrypoint
    assert json.loads(said["CMD"]) == made.command
    variables = dict(word.split("=", 1) for word in said["ENV"].split())
    assert variables.pop("PATH") == "/opt/trimtab/bin:$PATH"
    assert variables.items() <= images.variables(made).items()
    assert images.variables(made)["PATH"].startswith("/opt/trimtab/bin:")
    left_out = re.findall(r"rm -rf (\S+) && find \. -name (\S+) -type d", text)
    assert left_out == [("kubernetes/aio", "tests")]
    assert images.PRUNED == ("kubernetes/aio", "**/tests")


def test_everything_that_the_dockerfile_copies_is_in_the_repository() -> None:
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    copied = [line[1:-1] for line in lines if line[:1] == ["COPY"] and "--from=build" not in line]
    sources = [source for each in copied for source in each]
    assert {"operator", "requirements/runtime.txt", "README.md"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
