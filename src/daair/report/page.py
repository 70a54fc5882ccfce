"""Write a page from its template. Its Content-Security-Policy asks that styles, scripts and pictures are inside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from daair.files import write_text

REPORT, INDEX = "report.html", "index.html"


def render(name: str, content: Mapping[str, Any], folder: Path) -> Path:
    """Write `<folder>/<name>` from the template `<name>.j2` atomically and return its path."""
    loader = PackageLoader("daair.report", "")
    settings = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    write_text(folder / name, Environment(loader=loader, **settings).get_template(f"{name}.j2").render(content))
    return folder / name
