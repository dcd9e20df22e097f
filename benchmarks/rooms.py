"""The rooms of the house: files, lines, arrows to other rooms, the longest file and the longest function of each.

An arrow is a pair of rooms, with the number of import statements that make it. Files at the top are rooms of one file.

    python benchmarks/rooms.py src
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def room_of(module: str) -> str:
    """The part of a dotted name after the package: the room."""
    return module.split(".")[1] if "." in module else module


def imports_of(tree: ast.Module, package: str, names: set[str]) -> list[str]:
    """The modules of the package that a file imports, also for types only; a name that is a module counts as one."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{name.name}" for name in node.names]
            found += [name for name in whole if name in names] or [node.module]
    return [name for name in found if name.startswith(f"{package}.")]


def code_lines(node: ast.FunctionDef, lines: list[str]) -> int:
    """Lines of a function without its docstring and blank lines."""
    own = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    if ast.get_docstring(node) is not None:
        own -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return sum(bool(lines[number - 1].strip()) for number in own)


class Rooms:
    """What is counted of each room."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.arrows: Counter[tuple[str, str]] = Counter()
        self.longest_file: dict[str, tuple[int, str]] = defaultdict(lambda: (0, ""))
        self.longest_function: dict[str, tuple[int, str]] = defaultdict(lambda: (0, "-"))

    def add(self, room: str, path: Path, imported: Callable[[ast.Module], list[str]]) -> None:
        """Count a file."""
        text = path.read_text(encoding="utf-8")
        tree, rows = ast.parse(text), text.splitlines()
        self.files[room] += 1
        self.lines[room] += len(rows)
        self.longest_file[room] = max(self.longest_file[room], (len(rows), path.name))
        self.arrows.update((room, target) for target in map(room_of, imported(tree)) if target != room)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = code_lines(node, rows), node.name
                self.longest_function[room] = max(self.longest_function[room], length)

    def table(self) -> str:
        """The rooms as text, the sum below them."""
        found = [
            f"{'room':12} {'files':>5} {'lines':>6} {'to':>3} {'imports':>7}  {'longest file':28} longest function"
        ]
        for room in sorted(self.files):
            towards = [count for (start, _), count in self.arrows.items() if start == room]
            numbers = f"{self.files[room]:5} {self.lines[room]:6} {len(towards):3} {sum(towards):7}"
            file, function = (f"{size} {name}" for size, name in (self.longest_file[room], self.longest_function[room]))
            found.append(f"{room:12} {numbers}  {file:28} {function}")
        whole = f"{self.files.total():5} {self.lines.total():6} {len(self.arrows):3} {self.arrows.total():7}"
        both = sorted({" - ".join(sorted(pair)) for pair in self.arrows if pair[::-1] in self.arrows})
        return "\n".join([*found, f"{'all':12} {whole}", f"arrows in both directions: {', '.join(both) or 'none'}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder that holds the package, for example src")
    parser.add_argument("--package", default="tag2mask")
    options = parser.parse_args()
    top = options.source / options.package
    modules = {path: ".".join(path.relative_to(options.source).with_suffix("").parts) for path in top.rglob("*.py")}
    if not modules:
        raise SystemExit(f"{top}: expected Python files, found none")
    names, rooms = set(modules.values()), Rooms()
    for path, module in sorted(modules.items()):
        if path.parent != top or path.stem not in ("__init__", "__main__"):
            rooms.add(room_of(module), path, lambda tree: imports_of(tree, options.package, names))
    print(rooms.table())


if __name__ == "__main__":
    main()
