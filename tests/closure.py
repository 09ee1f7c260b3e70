"""Which files of ours a module imports, anywhere below it: what a stage's code dependencies must be."""

import ast
from pathlib import Path

# Cannot change an output: see stages/runtime/__init__.py. The top package sets libraries' progress bars alone.
EXEMPT = ("stages/runtime/", "stages/__init__.py")


def imported(file: Path, root: Path) -> set[Path]:
    """Return the files below `root`/stages that `file` imports itself, at any depth of its code."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "stages":
                continue
            for depth in range(1, len(parts) + 1):
                path = root.joinpath(*parts[:depth])
                found |= {
                    candidate for candidate in (path.with_suffix(".py"), path / "__init__.py") if candidate.is_file()
                }
    return found


def closure(stage: str, root: Path) -> set[str]:
    """Return the files a change of which may change what `stage` writes, relative to `root`."""
    todo, seen = [root / "stages" / f"{stage}.py"], set()
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if file in seen or name.startswith(EXEMPT):
            continue
        seen.add(file)
        todo += imported(file, root)
    return {file.relative_to(root).as_posix() for file in seen}
