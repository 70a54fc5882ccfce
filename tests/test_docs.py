"""The pages of docs/: the config reference is fresh, and the lines under troubleshooting are those of the code."""

import ast
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath
from types import ModuleType, SimpleNamespace
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval
from helpers import ROOT

import daair
from daair import cli
from daair.config.schema import known_keys

TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
REFUSED = re.findall(r"^ {4}\$ python run\.py (.*)\n {4}error: (.*)$", TROUBLE, re.MULTILINE)
LINES = re.findall(r"^\n {4}(?!\$)(.*)$", TROUBLE, re.MULTILINE)  # those that no command of the page prints
LEAST = 15  # letters of a message that a line must share with it


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load("make_config")


def load(name: str) -> ModuleType:
    """Return a module of docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_config_reference_is_fresh(reference: ModuleType) -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    assert text == reference.page(), "docs/config.md is stale: make docs"
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \|", text, re.MULTILINE)
    shown = {key: (kind, default) for key, kind, default in rows}
    missing = [key for key in known_keys() if not any(f"{one}.".startswith(f"{key}.") for one in shown)]
    assert not missing
    assert shown["train.ema_decay"] == ("float >= 0, < 1", "`0.999`")
    assert shown["experts.rank"][0] == "int >= 1"


def test_api_reference_is_fresh(reference: ModuleType) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    assert text == load("make_api").page(), "docs/api.md is stale: make docs"
    shown = {*re.findall(r"^### daair\.(\w+)$", text, re.MULTILINE)}
    assert shown == {name for name in daair.__all__ if not name.startswith("_")}
    named = {*re.findall(r"^### daair\.data\.degradations\.(\w+)$", text, re.MULTILINE)}
    assert {"noise", "awgn", "rain", "haze", "blur", "lowlight", "snow", "jpeg"} <= named
    assert "| `channels` | int >= 2 | `32` | C. |" in text


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int | None, "int or null"),
        (Annotated[float, Ge(0)], "float >= 0"),
        (Annotated[float, Interval(gt=0, le=1)] | None, "float > 0, <= 1 or null"),
        (Literal["a", "b"], r"a \| b"),
        (tuple[int, int], "list of 2 x int"),
        (tuple[str, ...], "list of text"),
        (dict[str, float], "mapping"),
    ],
)
def test_types_in_words(reference: ModuleType, hint: object, text: str) -> None:
    assert reference.words(hint) == text


def test_a_comment_goes_to_its_key(reference: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "part.yaml"
    file.write_text(
        "# A part\n# for tests.\n#   python run.py part=part\n_target_: pkg.Part\n"
        "a: 1        # first line\n            # and second\n# above\nb: {c: 2}\n"
        "d:          # a section\n  e: '#1'   # within\n"
    )
    found = reference.read(file)
    assert found.about == "A part for tests."
    assert [(".".join(key.path), key.value, key.comment) for key in found.keys] == [
        ("a", "1", "first line and second"),
        ("b", '{"c": 2}', "above"),
        ("d", "", "a section"),
        ("d.e", "#1", "within"),
    ]


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[command for command, _ in REFUSED])
def test_refused_commands_print_these_lines(
    command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("daair.engine.train.train", lambda job: 0)  # not to train if the command is not refused
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["run.py", *shlex.split(command)])
    assert cli.main() == 1
    assert capsys.readouterr().err.splitlines() == [f"error: {message}"]


def test_lines_are_those_of_the_code() -> None:
    messages = list(_messages())
    unknown = [line for line in LINES if not any(message.search(line) for message in messages)]
    assert LINES and not unknown, "\n".join(unknown)


def _messages() -> Iterator[re.Pattern[str]]:
    """Yield a pattern for every text of the code that is long enough, with anything where values stand."""
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            if sum(len(re.findall(r"\w", part)) for part in parts if part) >= LEAST:
                yield re.compile("".join(".*" if part is None else re.escape(part) for part in parts))


def test_the_site_has_every_page_and_its_links_lead_there() -> None:
    hooks = load("site_hooks")
    pages = {file.name for file in (ROOT / "docs").glob("*.md")}
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    assert set(re.findall(r": ([\w-]+\.md)$", navigation, re.MULTILINE)) == pages | {"index.md", "CONTRIBUTING.md"}
    for page, link, on_site in [
        ("index.md", "docs/data.md", "data.md"),
        ("data.md", "../experiments/rank/README.md#x", "experiments/rank/README.md#x"),
        ("data.md", "gpu.md", "gpu.md"),
        ("experiments/rank/README.md", "../router/README.md", "../router/README.md"),
        ("tests/plugin/README.md", "../../docs/extend.md", "../../extend.md"),
        ("gpu.md", "https://arxiv.org", "https://arxiv.org"),
    ]:
        shown = SimpleNamespace(file=SimpleNamespace(src_uri=page))
        assert hooks.on_page_markdown(f"[a]({link})", shown) == f"[a]({on_site})"


def test_links_of_the_site_lead_somewhere() -> None:
    """What `mkdocs build --strict` reports (and, set in mkdocs.yml, links to folders and to sections), without it."""
    hooks = load("site_hooks")
    files = hooks.reached(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))
    files = [file for file in files if not re.fullmatch(r"docs/\w+\.py", file)]  # exclude_docs of mkdocs.yml
    places = {hooks.place_of(file): file for file in files}
    assert len(places) == len(files) > 100
    wrong = []
    for page, file in places.items():
        if not page.endswith(".md"):
            continue
        shown = SimpleNamespace(file=SimpleNamespace(src_uri=page))
        text = hooks.on_page_markdown((ROOT / file).read_text(), shown)
        for link, section in re.findall(r"\]\((?![a-z]+:)([^)#]*)#?([^)]*)\)", text):
            target = normpath(f"{dirname(page) or '.'}/{link}") if link else page
            if target not in places or section and section not in _sections(ROOT / places[target]):
                wrong.append(f"{file}: {link}#{section}")
    assert not wrong, "\n".join(wrong)


def _sections(page: Path) -> set[str]:
    """Return the names that MkDocs and GitHub both give to the headings of a page.

    Of headings that are alike only the first is among them, since the two number the others differently.
    """
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"[^\w\s-]", "", line).strip().lower() for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[-\s]+", "-", heading) for heading in headings}
