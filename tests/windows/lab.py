"""Build anybpf for Windows and try it on a real Windows CPython 3.11 under wine, from Linux.

``python tests/windows/lab.py wheel`` leaves ``dist/anybpf-…-cp311-cp311-win_amd64.whl``;
``python tests/windows/lab.py test`` installs that wheel there with pip, runs every test that is not about a Linux
facility, runs ``anybpf demo`` and compares what it counted with the same command on this machine.

Needs the Windows lab (``../shared/winlab``), which lays out the Windows Python, wine and mingw.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT.parent / "shared" / "winlab" / "setup.sh"
LAB = ROOT / ".winlab"
STAGE = ROOT / "build" / "windows"
COMPILER = "x86_64-w64-mingw32-gcc"
TAG = "cp311-cp311-win_amd64"
# What the tests need there besides the package's dependencies; colorama is what click and pytest want on Windows only.
TEST_TOOLS = ("pip", "colorama", "pytest", "pytest-timeout", "hypothesis", "scapy", "ziglang", "setuptools")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command from the project's root; stop here with its output when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, text=True, check=False, **options)
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        sys.exit(f"failed ({done.returncode}): {shown}\n{done.stdout or ''}{done.stderr or ''}")
    return done


def windows_python(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the Windows Python. Its standard streams must be pipes, which the launcher sees to."""
    return run(LAB / "wpython", *arguments, **options)


def lay_out() -> None:
    """Make the Windows Python, once, and install what the package and its tests need."""
    if not SETUP.exists():
        sys.exit(f"no Windows lab here: {SETUP.relative_to(ROOT.parent)} is missing")
    if not (LAB / "wpython").exists():
        run("bash", SETUP, LAB, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    stamp = LAB / ".packages"
    wanted = "\n".join((*dependencies(), *TEST_TOOLS))
    if stamp.exists() and stamp.read_text() == wanted:
        return
    site = LAB / "py" / "Lib" / "site-packages"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--upgrade",
        "--target",
        site,
    )
    pip += ("--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:")
    run(*pip, *dependencies(), *TEST_TOOLS, stderr=subprocess.DEVNULL)
    stamp.write_text(wanted)


def dependencies() -> list[str]:
    """The package's own dependencies, as pyproject.toml lists them."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def build_wheel() -> Path:
    """Cross-build the engine with mingw, put it beside the Python files, and pack a wheel."""
    shutil.rmtree(STAGE, ignore_errors=True)
    tree = STAGE / "tree"
    run(
        sys.executable,
        "setup.py",
        "-q",
        "build_py",
        "--build-lib",
        tree,
        "dist_info",
        "-o",
        tree,
        stdout=subprocess.DEVNULL,
    )
    generated = STAGE / "_engine.c"
    emit = "import sys; from anybpf.runtime.build_engine import ffibuilder; ffibuilder.emit_c_code(sys.argv[1])"
    run(sys.executable, "-c", emit, generated, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    sources = sorted((ROOT / "src/anybpf/runtime/_engine").glob("*.c"))
    engine = tree / "anybpf/runtime/_engine.cp311-win_amd64.pyd"
    include = ("-I", LAB / "py/include", "-I", ROOT / "src/anybpf/runtime/_engine")
    # The generated glue casts function pointers freely; our own files are held to the full set of warnings.
    objects = [
        compile_object(generated, include, ()),
        *(compile_object(s, include, ("-Wall", "-Wextra", "-Werror")) for s in sources),
    ]
    run(
        COMPILER,
        "-shared",
        "-static-libgcc",
        "-o",
        engine,
        *objects,
        LAB / "py/python311.dll",
        "-lbcrypt",
        "-ladvapi32",
        "-lpsapi",
    )
    return pack(tree)


def compile_object(source: Path, include: tuple[object, ...], warnings: tuple[str, ...]) -> Path:
    """Compile one C file for Windows; return the object file."""
    made = STAGE / (source.stem + ".o")
    run(COMPILER, "-std=c11", "-O2", "-c", *warnings, *include, "-o", made, source)
    return made


def pack(tree: Path) -> Path:
    """Zip ``tree`` as a wheel with the Windows tag (the binary distribution format, PEP 427)."""
    info = next(tree.glob("*.dist-info"))
    (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nGenerator: anybpf\nRoot-Is-Purelib: false\nTag: {TAG}\n")
    wheel = ROOT / "dist" / f"{info.name.removesuffix('.dist-info')}-{TAG}.whl"
    wheel.parent.mkdir(exist_ok=True)
    record = info / "RECORD"
    files = sorted(path for path in tree.rglob("*") if path.is_file() and path != record)
    lines = []
    for path in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{path.relative_to(tree).as_posix()},sha256={digest},{path.stat().st_size}\n")
    record.write_text("".join(lines) + f"{record.relative_to(tree).as_posix()},,\n")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*files, record):
            archive.write(path, path.relative_to(tree).as_posix())
    return wheel


def compare_demo() -> None:
    """Run the demo on Windows and here; what they counted must be equal byte for byte, times aside."""
    here = run(sys.executable, "-m", "anybpf", "demo", "--json", stdout=subprocess.PIPE).stdout
    there = windows_python("-m", "anybpf", "demo", "--json", stdout=subprocess.PIPE).stdout
    ours, theirs = (json.dumps(without_times(json.loads(text)), indent=1, sort_keys=True) for text in (here, there))
    if ours != theirs:
        sys.exit(f"the demo differs.\nhere:\n{ours}\non Windows:\n{theirs}")
    print(f"demo: Windows and {sys.platform} agree on {len(ours)} bytes of verdicts, counts and map contents")


def without_times(value: object) -> object:
    """``value`` without the keys that hold times, modes of paths, and other facts of one run."""
    if isinstance(value, dict):
        return {
            key: without_times(item) for key, item in value.items() if not key.startswith(("time", "ns_", "object", "file"))
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value


def main(action: str) -> None:
    """Do what the command line asks: ``wheel`` or ``test``."""
    lay_out()
    wheel = build_wheel()
    print(f"built {wheel.relative_to(ROOT)}")
    if action == "wheel":
        return
    windows_python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall",
                   "--disable-pip-version-check", f"dist/{wheel.name}")  # fmt: skip
    windows_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not linux_only", "tests")
    compare_demo()


if __name__ == "__main__":
    if sys.argv[1:] not in (["wheel"], ["test"]):
        sys.exit(__doc__)
    main(sys.argv[1])
