"""Build anybpf for Windows and try it on a real Windows CPython 3.11 under wine, from Linux.

``python tests/windows/lab.py wheel`` leaves ``dist/anybpf-…-cp311-cp311-win_amd64.whl``;
``python tests/windows/lab.py test`` installs that wheel there with pip, runs every test that is not about a Linux
facility, runs ``anybpf demo`` there and here, and compares what both say.

Needs the Windows lab (``../shared/winlab``), which lays out the Windows Python, wine and mingw in ``.winlab``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT.parent / "shared" / "winlab" / "setup.sh"
LAB = ROOT / ".winlab"
SITE = LAB / "py" / "Lib" / "site-packages"
STAGE = ROOT / "build" / "windows"
COMPILER = "x86_64-w64-mingw32-gcc"
TAG = "cp311-cp311-win_amd64"
ENGINE = "anybpf/runtime/_engine.cp311-win_amd64.pyd"
# pip chooses by this machine's markers, so what is wanted on Windows alone must be named. Later versions of
# scapy ask for a function that wine's secur32.dll lacks.
WINDOWS_TOOLS = ("pip", "colorama", "pydivert>=4", "scapy<2.7")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command from the project's root; stop here with its output when it fails."""
    parts = [str(part) for part in command]
    done = subprocess.run(parts, cwd=ROOT, text=True, encoding="utf-8", check=False, **options)
    if done.returncode:
        sys.exit(f"failed ({done.returncode}): {' '.join(parts)}\n{done.stdout or ''}{done.stderr or ''}")
    return done


def quietly(*command: str | Path, **options: Any) -> str:
    """Run a command and return what it prints, which is shown only when it fails."""
    return run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options).stdout


def on_windows(*arguments: str | Path) -> tuple[str | Path, ...]:
    """The command that runs the Windows Python. Its standard streams must be pipes, which the launcher sees to."""
    # There it may keep bytecode, whatever is said of it here: it starts twice as fast.
    return ("env", "--unset=PYTHONDONTWRITEBYTECODE", LAB / "wpython", *arguments)


def lay_out() -> None:
    """Make the Windows Python, once, and install what the package and its tests need."""
    if not SETUP.exists():
        sys.exit(f"no Windows lab here: ../{SETUP.relative_to(ROOT.parent)} is missing")
    made, packages = LAB / ".made", LAB / ".packages"
    if not made.exists():
        quietly("bash", SETUP, LAB)
        # A new Windows has no packet capture library; scapy would try wine's, which is half of one.
        (LAB / "prefix/drive_c/windows/system32/wpcap.dll").unlink(missing_ok=True)
        made.touch()
    wanted = requirements()
    if packages.exists() and packages.read_text(encoding="utf-8") == "\n".join(wanted):
        return
    target = ("--target", SITE, "--upgrade")
    choice = ("--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:")
    quietly(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *target, *choice, *wanted)
    packages.write_text("\n".join(wanted), encoding="utf-8")


def requirements() -> tuple[str, ...]:
    """What the package and its tests need there: as pyproject.toml says, and the tools of the lab."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return (*project["dependencies"], *project["optional-dependencies"]["test"], *WINDOWS_TOOLS)


def build_wheel() -> Path:
    """Cross-build the engine with mingw, put it beside the Python files, and pack a wheel."""
    shutil.rmtree(STAGE, ignore_errors=True)
    tree = STAGE / "tree"
    quietly(sys.executable, "setup.py", "build_py", "--build-lib", tree, "dist_info", "-o", tree)
    build_engine(tree / ENGINE)
    return pack(tree)


def build_engine(made: Path) -> None:
    """Compile the engine as setup.py would, with the compiler of Windows, and link it with the Windows Python."""
    from anybpf.runtime.build_engine import ffibuilder

    extension = ffibuilder.distutils_extension(str(STAGE), verbose=False)
    flags = [f"-I{ROOT / directory}" for directory in (*extension.include_dirs, LAB / "py/include")]
    flags += extension.extra_compile_args

    def compile_file(source: str) -> Path:
        compiled = STAGE / f"{Path(source).stem}.o"
        quietly(COMPILER, *flags, "-c", source, "-o", compiled)
        return compiled

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_file, extension.sources))
    quietly(COMPILER, "-shared", "-static-libgcc", "-o", made, *objects, LAB / "py/python311.dll")


def pack(tree: Path) -> Path:
    """Zip ``tree`` as a wheel with the Windows tag (the binary distribution format, PEP 427)."""
    info = next(tree.glob("*.dist-info"))
    tags = f"Wheel-Version: 1.0\nGenerator: anybpf\nRoot-Is-Purelib: false\nTag: {TAG}\n"
    (info / "WHEEL").write_text(tags, encoding="utf-8")
    record = info / "RECORD"
    files = sorted(path for path in tree.rglob("*") if path.is_file() and path != record)
    lines = [f"{path.relative_to(tree).as_posix()},sha256={digest(path)},{path.stat().st_size}" for path in files]
    record.write_text("\n".join([*lines, f"{record.relative_to(tree).as_posix()},,", ""]), encoding="utf-8")
    wheel = ROOT / "dist" / f"{info.name.removesuffix('.dist-info')}-{TAG}.whl"
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*files, record):
            archive.write(path, path.relative_to(tree).as_posix())
    return wheel


def digest(path: Path) -> str:
    """A file's hash as RECORD wants it."""
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def install(wheel: Path) -> None:
    """Install the wheel there with pip, in the place of an earlier one; pip finds what it depends on installed."""
    for earlier in SITE.glob("anybpf*"):
        shutil.rmtree(earlier)
    options = ("--no-index", "--no-warn-script-location", "--disable-pip-version-check")
    quietly(*on_windows("-m", "pip", "install", *options, wheel.relative_to(ROOT).as_posix()))


def run_tests() -> None:
    """Run the tests there. xdist's two workers share the processors better than two processes of pytest would."""
    plugins = ("-p", "no:cacheprovider", "-n", str(os.cpu_count()), "--dist", "worksteal")
    run(*on_windows("-m", "pytest", "-q", "--color=no", *plugins, "-m", "not linux_only", "tests"))


def compare_demo() -> None:
    """Run the demo on Windows and here; times and the folders of source files aside, both must say the same."""
    command = ("-m", "anybpf", "demo", "--json")
    ours, theirs = (
        json.dumps(comparable(json.loads(quietly(*python))), indent=1)
        for python in ((sys.executable, *command), on_windows(*command))
    )
    if ours != theirs:
        sys.exit(f"the demo differs.\nhere:\n{ours}\non Windows:\n{theirs}")
    print(f"demo: Windows and this machine agree in all {len(ours)} bytes of verdicts, counts and map contents")


def comparable(value: Any) -> Any:
    """``value`` without times, and with the names of files only."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: comparable(item) for key, item in value.items() if key not in ("time_ms", "ns_per_packet")}
    if "file" in kept:
        kept["file"] = kept["file"].replace("\\", "/").rpartition("/")[2]
    return kept


def main(action: str) -> None:
    """Do what the command line asks: ``wheel`` or ``test``."""
    lay_out()
    wheel = build_wheel()
    print(f"built {wheel.relative_to(ROOT)}", flush=True)
    if action == "wheel":
        return
    install(wheel)
    run_tests()
    compare_demo()


if __name__ == "__main__":
    if sys.argv[1:] not in (["wheel"], ["test"]):
        sys.exit(__doc__)
    main(sys.argv[1])
