"""Hooks of the docs site: README as front page, cards as one page, links out of docs/ lead to the repository."""

from __future__ import annotations

import re
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def repository() -> str:
    """Address of the repository, which pyproject.toml alone knows."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Fill the front page and the page of cards, then mend links."""
    folder = ROOT / "docs" / Path(page.file.src_uri).parent
    if page.file.src_uri == "index.md":
        markdown, folder = (ROOT / "README.md").read_text(encoding="utf-8"), ROOT
    elif page.file.src_uri == "cards.md":
        folder = ROOT / "src/gtpt/weights/cards"
        markdown += "\n\n".join(
            re.sub("^#", "##", c.read_text(encoding="utf-8"), flags=re.M) for c in sorted(folder.glob("*.md"))
        )
    here = (ROOT / "docs" / page.file.src_uri).parent
    return LINK.sub(lambda m: _mended(m, folder, here), markdown)


def _mended(match: re.Match, folder: Path, here: Path) -> str:
    picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
    text = LINK.sub(lambda m: _mended(m, folder, here), text)
    path = (folder / target).resolve()
    if not path.exists():
        return match[0]  # the strict build complains about it
    if path.is_relative_to(ROOT / "docs"):
        depth = len(here.relative_to(ROOT / "docs").parts)
        return f"{picture}[{text}]({'../' * depth}{path.relative_to(ROOT / 'docs').as_posix()}{anchor})"
    kind = "tree" if path.is_dir() else "raw" if picture else "blob"
    return f"{picture}[{text}]({repository()}/{kind}/main/{path.relative_to(ROOT).as_posix()}{anchor})"
