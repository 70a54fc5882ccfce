"""Tests of the house itself: which room imports which, that no imports go in a circle, and how long files are."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
LONGEST_FILE = 400
LONGEST_FUNCTION = 65

LEAVES = {"errors", "exits", "files", "stdout", "components", "metrics", "pixels", "submodules", "trust"}
"""Modules and packages at the root that every room may import."""

NETWORKS = {"losses", "optim", "checkpoint", "weights", "hub"}
"""Modules at the root that build or load what is trained."""

ALLOWED = {
    "models": LEAVES,
    "data": LEAVES,
    "runs": LEAVES,
    "config": LEAVES | NETWORKS | {"data", "models", "runs"},  # whose names and signatures it checks
    "report": LEAVES | {"config", "runs"},
    "engine": LEAVES | NETWORKS | {"config", "data", "models", "runs"},
    "tasks": LEAVES | NETWORKS | {"config", "data", "models", "runs", "report", "engine"},
    "launch": LEAVES | NETWORKS | {"config", "runs", "report", "tasks", "engine"},
}
"""Rooms, and what each may import beside itself."""


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the package, by its dotted name."""
    trees = {}
    for file in sorted((SOURCE / "daair").rglob("*.py")):
        name = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return trees


def imports(module: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports, when it is loaded, later or for types alone."""
    for node in ast.walk(modules()[module]):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports are not used here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "daair":
                yield name if name in modules() else name.rpartition(".")[0]


def room(module: str) -> str:
    """Return the package or module directly below `daair` that a module belongs to; empty for `daair` itself."""
    return module.split(".")[1] if "." in module else ""


def test_rooms_import_only_what_the_table_allows():
    wrong = [
        f"{module} imports {target}"
        for module in modules()
        for target in imports(module)
        if room(module) in ALLOWED and room(target) not in ALLOWED[room(module)] | {room(module)}
    ]
    assert not wrong, "\n".join(wrong)


def test_root_modules_import_no_rooms():
    wrong = [
        f"{module} imports {target}"
        for module in modules()
        for target in imports(module)
        if (room(module) in LEAVES and room(target) not in LEAVES)
        or (room(module) in NETWORKS and room(target) not in LEAVES | NETWORKS | {"models"})
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_belongs_to_a_known_place():
    known = {*ALLOWED, *LEAVES, *NETWORKS, "", "__main__", "cli"}
    assert not {room(module) for module in modules()} - known


def test_no_imports_go_in_a_circle():
    graph = {module: set(imports(module)) - {module} for module in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules of the circle


def test_no_file_is_too_long():
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    assert not {str(file.relative_to(SOURCE)): n for file, n in lengths.items() if n > LONGEST_FILE}


def test_no_function_is_too_long():
    long = {
        f"{module}.{node.name}": length
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert not long
