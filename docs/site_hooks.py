"""Hooks of MkDocs: README.md is the first page, and files outside of docs/ that a page links to come along.

The pages are written for reading in the repository, where `docs/` is a folder beside `experiments/`. On the site the
pages of docs/ lie at the root, so the links between the two lose this folder.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)#:]+)(?=[)#])")


def on_files(files: Any, config: Any) -> Any:
    """Add README.md and every file of the repository that is reached by links, also from pages that are added."""
    from mkdocs.structure.files import File

    for path in reached(f"docs/{file.src_uri}" for file in files):
        if not path.startswith("docs/"):
            files.append(File.generated(config, place_of(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page whose links lead to the places of the files on the site."""
    here = in_repository(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = normpath(f"{dirname(here) or '.'}/{match[1]}")
        return relpath(place_of(target), dirname(place_of(here)) or ".")

    return LINK.sub(moved, markdown)


def reached(pages: Iterable[str]) -> list[str]:
    """Return these files, the first page, and those of the repository to which links lead from there."""
    waiting, found = ["README.md", "CONTRIBUTING.md", *pages], {}
    while waiting:
        path = waiting.pop()
        if path not in found and (ROOT / path).is_file():
            found[path] = None
            waiting += targets(path) if path.endswith(".md") else []
    return list(found)


def targets(path: str) -> list[str]:
    """Return the files that a page links to, relative to the repository's root."""
    return [normpath(f"{dirname(path) or '.'}/{link}") for link in LINK.findall((ROOT / path).read_text())]


def place_of(path: str) -> str:
    """Return the place on the site of a file of the repository."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def in_repository(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    if uri == "index.md":
        return "README.md"
    return f"docs/{uri}" if (ROOT / "docs" / uri).is_file() else uri
