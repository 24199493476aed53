"""What mkdocs is told beyond its settings: links out of the site, and pages that no menu names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any, **_: Any) -> Any:
    """Add pages that the menu does not name at its end, so that none is out of reach."""
    docs = Path(config["docs_dir"])
    named = set(_pages(config["nav"]))
    rest = sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))
    rest = [page for page in rest if page not in named]
    if rest:
        config["nav"] = [*config["nav"], {"More": rest}]
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return the page with links to files of the repository outside docs/ as plain text."""
    docs = Path(config["docs_dir"]).resolve()
    here = Path(page.file.abs_src_path).parent

    def plain(found: re.Match[str]) -> str:
        target = (here / found[2]).resolve()
        outside = not target.is_relative_to(docs)
        # A file that is not there is left for mkdocs to complain about.
        return found[1] if outside and target.exists() else found[0]

    return _LINK.sub(plain, markdown)


def _pages(entries: Any) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from _pages(entry)
