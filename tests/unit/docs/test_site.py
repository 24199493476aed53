"""The pages build without a warning, and each can be reached from the first."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (site / "index.html").read_text("utf-8")
    docs = ROOT / "docs"
    pages = [path.relative_to(docs).with_suffix("") for path in docs.rglob("*.md")]
    assert len(pages) > 20
    for page in pages:
        assert page.name == "index" or f'href="{page}/"' in menu, page


def test_pictures_come_along_and_nothing_else(site: Path) -> None:
    assert (site / "images/architecture.svg").exists()
    assert not list(site.rglob("*.py"))


def test_the_image_carries_no_page_builder() -> None:
    assert "mkdocs" not in (ROOT / "requirements/runtime.txt").read_text()
    assert "mkdocs==" in (ROOT / "requirements/docs.txt").read_text()
