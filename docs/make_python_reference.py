"""Write docs/reference/python.md from the docstrings of what users call; a test says whether it is stale.

It is read from the source, not from what is imported, so it is the same whatever is installed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import perceived

PACKAGE = Path(__file__).parents[1] / "src" / "perceived"
TARGET = Path(__file__).parent / "reference" / "python.md"
HEAD = """\
# Python

<!-- Written by `make docs` from the docstrings; a test fails when it is stale. -->

What the commands call, and you may. `import perceived` loads nothing heavy: each name is loaded when it is first used,
and says which extra it needs where one is missing. Errors are subclasses of `perceived.PerceivedError`; their text says
what happened, what was expected and how to mend it.

`Pixels` are RGB uint8, `(height, width, 3)`. A `Source` of a picture is a path, its bytes, a Pillow image or `Pixels`;
annotations take it from `perceived.given`.
"""
ENTRIES = {
    "Answer": (
        *("predictor.Predictor", "types.Picture", "types.Prediction", "types.Face", "types.Box"),
        *("detector.Detector", "detector.YuNet", "selection.Selection", "classifier.Classifier", "client.Client"),
        *("video.frames", "video.Frame", "video.follow", "video.Followed"),
        *("tracking.Tracker", "tracking.Track", "video.Recorder"),
    ),
    "Prepare data": (
        *("data.table.prepare", "data.split.make", "explore.explore", "data.preview.preview"),
        *("label_errors.find", "demo_faces.write", "study.run"),
    ),
    "Train": (
        *("recipes.get", "recipes.Recipe", "data.augment.Augmentation", "data.degrade.Degradation"),
        *("train.train", "average.average", "compare.compare", "tune.tune"),
        *("export.export", "quantize.quantize", "calibrate.calibrate"),
    ),
    "Judge": (
        *("evaluate.evaluate", "audit.audit_files", "audit.audit_workspace", "audit.audit", "audit.judge"),
        *("answers.Reading", "pages.audit.write"),
        *("robustness.robustness", "card.write", "card.Energy", "push.gather", "push.send"),
    ),
    "Formats": ("preprocess.Preprocessing", "preprocess.frame", "spec.ModelSpec"),
    "Errors": (
        *("errors.PerceivedError", "errors.InputError", "errors.ImageError", "errors.ConfigError"),
        *("errors.PictureSizeError", "errors.DataError", "errors.SplitError", "errors.ModelFileError"),
        *("errors.WeightsError", "errors.ResumeError", "errors.DivergedError", "errors.MissingExtraError"),
        *("errors.ServerError", "errors.ClusterError", "errors.StorageError"),
    ),
}
HOMES = perceived._HOMES
"""Modules of the names that ``perceived`` itself has."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, names in ENTRIES.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _entry(name)
    return "\n".join(parts)


def _entry(name: str) -> Iterator[str]:
    module, _, called = name.rpartition(".")
    found = _definitions(module)[called]
    yield f"### perceived.{called if HOMES.get(called) == module else name}\n"
    if isinstance(found, ast.ClassDef):
        yield from _class(found)
    else:
        yield _code(_signature(found))
        yield from _text(found)


def _class(found: ast.ClassDef) -> Iterator[str]:
    methods = [one for one in found.body if isinstance(one, Function) and not _is(one, "overload")]
    made = next((one for one in methods if one.name == "__init__"), None)
    if made is not None:
        yield _code(_signature(made, called=found.name, without_self=True))
    elif fields := [one for one in found.body if isinstance(one, ast.AnnAssign) and not _is_private(one.target)]:
        keywords = "    *,\n" if any("kw_only=True" in ast.unparse(one) for one in found.decorator_list) else ""
        yield _code(f"{found.name}(\n{keywords}" + "".join(f"    {ast.unparse(one)},\n" for one in fields) + ")")
    bases = [ast.unparse(base) for base in found.bases if ast.unparse(base) != "Protocol"]
    if bases:
        yield f"A subclass of {', '.join(f'`{base}`' for base in bases)}.\n"
    yield from _text(found)
    for one in methods:
        if one.name.startswith("_"):
            continue
        if _is(one, "property"):
            returned = f": {ast.unparse(one.returns)}" if one.returns else ""
            yield f"#### {found.name}.{one.name}{returned}\n"
        else:
            yield f"#### {found.name}.{one.name}\n"
            yield _code(_signature(one, without_self=True))
        yield from _text(one)


@functools.cache
def _definitions(module: str) -> dict[str, ast.ClassDef | Function]:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = _Constants().visit(ast.parse(path.read_text(encoding="utf-8")))
    return {one.name: one for one in tree.body if isinstance(one, ast.ClassDef | Function)}


class _Constants(ast.NodeTransformer):
    """Puts a module's plain constants in the place of their names: ``small=30`` says more than ``small=SMALL``."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self._known = {
            ast.unparse(one.targets[0]): one.value
            for one in node.body
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        }
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._known.get(node.id, node) if isinstance(node.ctx, ast.Load) else node


def _is(function: Function, kind: str) -> bool:
    """Say whether a function is decorated as such a one."""
    return kind in map(ast.unparse, function.decorator_list)


def _is_private(target: ast.expr) -> bool:
    return ast.unparse(target).startswith("_")


def _signature(function: Function, *, called: str = "", without_self: bool = False) -> str:
    given = function.args
    defaults = [*[None] * (len(given.args) - len(given.defaults)), *given.defaults]
    positional = list(map(_argument, given.args, defaults))
    if given.posonlyargs:
        positional = [*map(ast.unparse, given.posonlyargs), "/", *positional]
    positional = positional[without_self:]
    named = list(map(_argument, given.kwonlyargs, given.kw_defaults))
    every = [*positional, *(["*"] if named else []), *named]
    name = called or function.name
    returned = f" -> {ast.unparse(function.returns)}" if function.returns and not called else ""
    line = f"{name}({', '.join(every)}){returned}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {one},\n" for one in every) + f"){returned}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _text(found: ast.ClassDef | Function) -> Iterator[str]:
    """Turn a docstring to Markdown: roles become code, sections lists."""
    text = inspect.cleandoc(ast.get_docstring(found) or "")
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    for part in filter(None, text.split("\n\n")):
        head, _, rest = part.partition("\n")
        if head in ("Args:", "Raises:", "Returns:"):
            yield f"{head}\n\n{_list(rest)}\n"
        else:
            yield part + "\n"


def _list(section: str) -> str:
    """Return the items of a section, each a name, a colon and lines that belong to it where they are further in."""
    items = re.split(r"\n(?=    \S)", "\n" + section)[1:]
    told = (" ".join(line.strip() for line in item.splitlines()).partition(": ") for item in items)
    return "\n".join(f"- `{name}`: {what}" for name, _, what in told)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
