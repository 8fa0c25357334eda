"""The shape of the package: imports run downwards, faces define nothing, importing is cheap, modules stay readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
PACKAGE = SOURCE / "anybpf"

#: Floor of each part of the package: a module may import from the floors below its own, and from its own part.
FLOORS = {
    "isa": 0,
    "spec": 0,
    "errors": 0,
    "elf": 1,
    "btf": 1,
    "compile": 1,
    "platforms": 2,
    "verifier": 3,
    "runtime": 4,
    "hooks": 5,
    "libbpf": 6,
    "service": 6,
    "cli": 7,
    "pytest_plugin": 7,
    "conformance": 7,
    "samples": 7,
    "__main__": 8,
}
#: What parts of one floor may take from one another: instructions, specs and errors are one vocabulary, and what a
#: loader knows of types it has from btf.
SAME_FLOOR = {("isa", "spec"), ("isa", "errors"), ("errors", "spec"), ("elf", "btf")}

MAX_LINES = 400

MODULES = sorted(PACKAGE.rglob("*.py"))
NATIVE = sorted(path for path in (PACKAGE / "runtime" / "_engine").glob("*.[ch]"))


def name_of(path: Path) -> str:
    """The dotted name of the module in ``path``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES} | {"anybpf.runtime._engine"}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each import of this package in a module, wherever it stands: its line, and the dotted name of what it takes."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            # "from anybpf import isa" takes a module, "from anybpf.isa import decode" something public out of one
            found = [f"{base}.{a.name}" for a in node.names]
            found = [n if n in NAMES or n.rpartition(".")[2].startswith("_") else base for n in found]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "anybpf")


def part_of(name: str) -> str:
    """The part of the package (a key of FLOORS) that a dotted name belongs to, "" for the face."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_downwards(path):
    """A module imports from its own part, from lower floors, and from nobody's private modules."""
    name = name_of(path)
    part = part_of(name)
    if not part:
        return  # the face re-exports from every floor
    assert part in FLOORS, f"{name}: give {part!r} a floor in FLOORS"
    for line, target in imports_of(path):
        other = part_of(target)
        where = f"{path.relative_to(SOURCE)}:{line}: {name} may not import {target}"
        assert other in FLOORS or (not other and FLOORS[part] >= 7), f"{where}: it is the face"
        if other == part or not other:
            continue
        assert FLOORS[other] < FLOORS[part] or (part, other) in SAME_FLOOR, f"{where}: it is not on a lower floor"
        assert not any(p.startswith("_") for p in target.split(".")), f"{where}: it is private"


def imports_for_types(tree):
    """The imports under TYPE_CHECKING: of a module that finds the names by itself when they are used."""
    blocks = [n for n in tree.body if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    return [node for block in blocks for node in block.body]


def test_the_face_defines_nothing():
    """anybpf/__init__.py holds a docstring, imports, __all__, and what makes the imports wait until they are needed."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body[1:]:
        names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        late = isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__")
        late = late or (isinstance(node, ast.If) and bool(imports_for_types(tree)))
        assert isinstance(node, ast.Import | ast.ImportFrom) or names == ["__all__"] or late, (
            f"line {node.lineno} defines"
        )


def test_faces_list_what_they_offer():
    """Each package's __init__.py has an __all__ of names that it really has, and no private ones."""
    for path in sorted(PACKAGE.rglob("__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
            continue
        lists = [n for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"]
        assert len(lists) == 1, f"{path.relative_to(SOURCE)} has no __all__"
        offered = set(ast.literal_eval(lists[0].value))
        imports = [n for n in (*tree.body, *imports_for_types(tree)) if isinstance(n, ast.Import | ast.ImportFrom)]
        bound = {a.asname or a.name for n in imports for a in n.names}
        bound |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        bound |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        bound |= {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        assert offered <= bound, f"{path.relative_to(SOURCE)} offers {offered - bound}, which it does not have"
        assert not [name for name in offered if name.startswith("_")], (
            f"{path.relative_to(SOURCE)} offers private names"
        )


@pytest.mark.parametrize("path", [*MODULES, *NATIVE], ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_readable(path):
    """No module is longer than one concept needs."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path.relative_to(SOURCE)} has {lines} lines; split it by concept"


@pytest.mark.parametrize("module", ["anybpf", "anybpf.isa", "anybpf.verifier", "anybpf.cli"])
def test_importing_loads_no_heavy_library(module):
    """Importing the package, or its command line, loads neither LLVM nor the ELF reader nor anything else heavy."""
    heavy = ("llvmlite", "elftools", "dpkt", "scapy", "ziglang", "hypothesis")
    code = f"import sys, {module}; print(*(m for m in {heavy!r} if m in sys.modules))"
    assert run(code).split() == []


def test_importing_is_quick():
    """Importing anybpf takes under 100 ms of processor time, the best of three fresh interpreters."""
    code = "import time; start = time.process_time(); import anybpf; print(time.process_time() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.1


def run(code: str) -> str:
    """Run ``code`` in a fresh interpreter that finds this checkout's package; returns what it prints."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
