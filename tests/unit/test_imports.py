"""The architecture, held: imports point one way, and training's packages stay out of prediction.

Imports are read from the source, those inside functions included; a module's reach is everything it
imports, directly or through others.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import perceived
from perceived.extras import modules

PACKAGE = Path(perceived.__file__).parent
INTERFACES = {"cli", "commands", "terminal", "__main__", "server", "cluster"}
CORE = {
    "",
    "archive",
    "bounds",
    "classifier",
    "colour",
    "crop",
    "detector",
    "devices",
    "errors",
    "extras",
    "found",
    "given",
    "images",
    "installed",
    "integrity",
    "jpeg",
    "models",
    "png",
    "prefetch",
    "predictor",
    "preprocess",
    "selection",
    "sessions",
    "sources",
    "spec",
    "storage",
    "types",
    "yunet",
}
"""Modules that the core install, without any extra, can import."""
LIGHT = {"PIL", "click", "numpy", "typer"}
"""Packages of the core that the command line imports before it is asked for anything."""
CORE_PACKAGES = {*LIGHT, "cv2", "onnxruntime", "rich"}
"""What the dependencies of the core are imported as."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def type_checking_only(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes inside ``if TYPE_CHECKING:``, which never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(source: str, *, module: str = "x", top_only: bool = False) -> set[str]:
    """Return the dotted names a module imports; its own package's as ``perceived.…``."""
    tree = ast.parse(source)
    skipped = type_checking_only(tree)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    if top_only:
        skipped |= {inner for function in functions for inner in ast.walk(function)}
    found = set()
    for node in (n for n in ast.walk(tree) if n not in skipped):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide their direction"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(names: set[str]) -> set[str]:
    """Return which modules of this package the imported names are, or belong to."""
    own = set()
    for name in names:
        parts = name.split(".")
        if parts[0] != "perceived":
            continue
        while parts and ".".join(parts[1:]) not in SOURCES:
            parts.pop()
        own.add(".".join(parts[1:]))
    return own


def outside(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names} - {"perceived"}


ALL = {name: imports(path.read_text(encoding="utf-8"), module=name) for name, path in SOURCES.items()}
TOP = {name: imports(path.read_text(encoding="utf-8"), module=name, top_only=True) for name, path in SOURCES.items()}


def reach(module: str) -> set[str]:
    """Return the modules of this package that ``module`` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for name in inside(ALL[waiting.pop()]) - seen - {""}:
            seen.add(name)
            waiting.append(name)
    return seen


def test_the_reader_of_imports_sees_what_it_should():
    source = "import numpy as np\nfrom a.b import c\ndef f():\n    import torch\nif TYPE_CHECKING:\n    import polars\n"
    assert imports(source) == {"numpy", "a.b.c", "torch"}
    assert imports(source, top_only=True) == {"numpy", "a.b.c"}
    assert inside({"perceived.errors.InputError", "perceived.spec", "numpy.x", "perceived.__version__"}) == {
        "errors",
        "spec",
        "",
    }
    assert "train" in reach("cli")


def test_interfaces_are_imported_by_nobody_but_interfaces():
    for module in SOURCES:
        if module.partition(".")[0] not in INTERFACES:
            used = {name.partition(".")[0] for name in inside(ALL[module])}
            assert used.isdisjoint(INTERFACES), f"{module} imports an interface"


def test_imports_point_one_way():
    order = ["types", "preprocess", "classifier", "predictor", "cli"]
    for index, module in enumerate(order):
        later = set(order[index + 1 :])
        assert reach(module).isdisjoint(later), f"{module} reaches {reach(module) & later}"


def test_predictor_reaches_core_modules_only_and_never_torch():
    assert reach("predictor") <= CORE
    for module in {"predictor"} | reach("predictor"):
        assert outside(ALL[module]).isdisjoint(modules("train")), module


def test_what_draws_charts_and_pages_stands_together():
    for module in SOURCES:
        drawn = outside(ALL[module]) & {"jinja2", "markupsafe", "matplotlib"}
        assert not drawn or module.startswith("pages."), f"{module} imports {drawn}"


def test_training_never_reaches_an_interface_or_the_predictor():
    reached = {name.partition(".")[0] for name in reach("train")}
    assert reached.isdisjoint(INTERFACES | {"predictor"})


def test_interfaces_import_nothing_of_training_before_it_is_asked_for():
    waiting, seen = ["cli", "__main__"], {"cli", "__main__"}
    while waiting:
        module = waiting.pop()
        heavy = outside(TOP[module]) - sys.stdlib_module_names - LIGHT
        assert not heavy, f"{module} is imported with the command line, and imports {heavy}"
        fresh = inside(TOP[module]) - seen
        seen |= fresh
        waiting.extend(fresh)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_two_modules_import_each_other(module):
    assert module not in reach(module)


def test_core_modules_import_only_what_the_core_install_brings():
    assert set(SOURCES) > CORE
    for module in CORE:
        assert outside(TOP[module]) <= sys.stdlib_module_names | CORE_PACKAGES, module


def test_an_audit_of_files_needs_the_packages_of_its_own_extra_only():
    waiting, seen = ["commands.audit", "audit", "pages.audit", "criteria", "answers"], set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        assert outside(TOP[module]).isdisjoint(modules("train") - modules("audit")), module
        waiting.extend(inside(TOP[module]) - seen)
