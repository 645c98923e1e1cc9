"""Figures of the house: size, grain, types at hand-overs, comments, and who knows an answer's kind.

python -m tests.benchmarks.house [PACKAGE_FOLDER ...]
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parents[2] / "hub_trainer"
KINDS = re.compile(
    r"""\[["']label["']\]|is_generation|modality\b|\.writes\b|["']labels?["'] (==|in)"""
    r"""|\.converses\b|\.dialogue\b"""
)
HOMES = ("answers", "inputs", "tasks", "finetune")


def figures(package: Path) -> dict[str, float]:
    """The counts of one package."""
    paths = sorted(package.rglob("*.py"))
    texts = {path: path.read_text() for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = sum(text.count("\n") for text in texts.values())
    functions = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    once = sum(_called_once(tree) for tree in trees.values())
    return {
        "files": len(paths),
        "lines": lines,
        "functions": len(functions),
        "private helpers called once, per 1,000 lines": round(1000 * once / lines, 1),
        "dict[str, Any] in signatures": sum("dict[str, Any]" in _signature(f) for f in functions),
        "lines outside their homes that know a kind": sum(
            bool(KINDS.search(line))
            for path, text in texts.items()
            if path.relative_to(package).parts[0] not in HOMES
            for line in text.splitlines()
        ),
        "comments, share of lines, %": round(100 * sum(map(_comments, texts.values())) / lines, 2),
        "file names that stand twice or more": sum(
            count > 1
            for name, count in Counter(path.name for path in paths).items()
            if name != "__init__.py"
        ),
    }


def _called_once(tree: ast.Module) -> int:
    """Private functions of a module whose name stands in it once beside their own definition."""
    names = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    private = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return sum(names[name] == 1 for name in private if re.match(r"_[^_]", name))


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = ast.unparse(function.returns) if function.returns else ""
    return f"{ast.unparse(function.args)} {returns}"


def _comments(text: str) -> int:
    """Lines that are comments of their own; marks for tools are none."""
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    marks = ("# noqa", "# type:", "# fmt:")
    return sum(t.type == tokenize.COMMENT and not t.string.startswith(marks) for t in found)


def main(folders: list[str]) -> None:
    """A table with a column for each folder."""
    packages = [Path(folder) for folder in folders] or [HERE]
    columns = [figures(package) for package in packages]
    for name in columns[0]:
        print(f"{name:48}", *(f"{column[name]:>10,}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
