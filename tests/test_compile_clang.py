"""Driving clang: what a source becomes, what is said when it becomes nothing, and that the machine does not matter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import anybpf
from anybpf import elf
from anybpf.compile import compile_source, include_dir
from anybpf.errors import CompileError
from anybpf.platforms import program_type_for, recognise
from anybpf.samples.build import SAMPLES, SHIPPED, build, platforms_of
from compiling import require_clang

SOURCE_ROOT = Path(anybpf.__file__).resolve().parent.parent
MINIMAL = '__attribute__((section("xdp"), used)) int pass(void *ctx) { (void)ctx; return VALUE; }\n'


@pytest.fixture(autouse=True, scope="module")
def _clang() -> None:
    require_clang()


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    """A source of one program that needs the macro VALUE."""
    path = tmp_path / "minimal.c"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_object(minimal):
    """A source becomes an object with the program, its instructions and its source lines."""
    spec = elf.parse(compile_source(minimal, defines=["VALUE=2"]), "minimal.o")
    assert [(p.name, p.section, p.code[:8].hex()) for p in spec] == [("pass", "xdp", "b400000002000000")]
    assert spec.btf is not None
    assert spec["pass"].lines


def test_no_debug(minimal):
    """Without debug information there is no BTF, and the code is the same."""
    plain = elf.parse(compile_source(minimal, defines=["VALUE=2"], debug=False), "minimal.o")
    assert plain.btf is None
    assert plain["pass"].code == elf.parse(compile_source(minimal, defines=["VALUE=2"]), "minimal.o")["pass"].code


def test_refused(minimal):
    """What clang says of a source that it refuses is in the error: file, line and reason."""
    with pytest.raises(CompileError, match=r"minimal\.c:1:\d+: error: use of undeclared identifier 'VALUE'"):
        compile_source(minimal)


def test_warnings_are_shown(tmp_path, capfd):
    """Warnings of a source that compiles go to stderr; as errors they refuse it."""
    path = tmp_path / "warn.c"
    path.write_text("int f(void) { int unused; return 0; }\n", encoding="utf-8")
    compile_source(path)
    assert "unused variable" in capfd.readouterr().err
    with pytest.raises(CompileError, match="unused variable"):
        compile_source(path, warnings=("all", "error"))


def test_missing_file(tmp_path):
    """A source that is not there is named."""
    with pytest.raises(CompileError, match=r"nothing\.c: there is no such file"):
        compile_source(tmp_path / "nothing.c")


def test_unknown_platform(minimal):
    """A platform without headers is answered with those that have some."""
    with pytest.raises(CompileError, match="linux, windows"):
        compile_source(minimal, platform="plan9")


def test_include_dirs_come_first(tmp_path):
    """A directory that is given is searched before the bundled headers."""
    own = tmp_path / "own" / "linux"
    own.mkdir(parents=True)
    (own / "bpf.h").write_text("#define VALUE 1\n", encoding="utf-8")
    path = tmp_path / "source.c"
    path.write_text(f"#include <linux/bpf.h>\n{MINIMAL}", encoding="utf-8")
    spec = elf.parse(compile_source(path, include_dirs=[own.parent]), "source.o")
    assert spec["pass"].code[4] == 1


@pytest.mark.parametrize("header", ["stdio.h", "linux/fs.h", "sys/stat.h", "bpf/libbpf.h"])
def test_machine_headers_do_not_leak(tmp_path, header):
    """Headers of the machine are never found, even where the machine has them."""
    path = tmp_path / "source.c"
    path.write_text(f"#include <{header}>\n", encoding="utf-8")
    with pytest.raises(CompileError, match=re.escape(f"'{header}' file not found")):
        compile_source(path)


def test_environment_does_not_leak(minimal, tmp_path, monkeypatch):
    """Search paths in the environment do not reach the compilation."""
    (tmp_path / "leak.h").write_text("#define VALUE 1\n", encoding="utf-8")
    minimal.write_text(f"#include <leak.h>\n{MINIMAL}", encoding="utf-8")
    monkeypatch.setenv("CPATH", str(tmp_path))
    monkeypatch.setenv("C_INCLUDE_PATH", str(tmp_path))
    with pytest.raises(CompileError, match=r"leak\.h"):
        compile_source(minimal)


def test_same_bytes_everywhere(tmp_path):
    """The same source gives the same bytes in two directories."""
    objects = []
    for name in ("here", "there"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "count.c").write_bytes((SAMPLES / "count.c").read_bytes())
        script = "import sys, anybpf.compile as c; sys.stdout.buffer.write(c.compile_source('count.c'))"
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        objects.append(done.stdout)
    assert objects[0] == objects[1]
    assert str(tmp_path).encode() not in objects[0]


def test_no_clang():
    """Without any clang, one sentence says what to install."""
    script = (
        "import sys; sys.modules['ziglang'] = None  # as if it were not installed\n"
        "from anybpf.compile import find_clang\nfrom anybpf.errors import CompileError\n"
        "try:\n    find_clang()\nexcept CompileError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "pip install 'anybpf[clang]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_include_dir():
    """The bundled headers can be handed to other tools."""
    assert (include_dir("linux") / "bpf" / "bpf_helpers.h").is_file()
    assert (include_dir("windows") / "ebpf_nethooks.h").is_file()


SOURCES = sorted(SAMPLES.glob("*.c"))


class TestSamples:
    """The sample sources."""

    def test_there_are_some(self):
        """The samples that the documentation names are there."""
        names = {source.stem for source in SOURCES}
        assert names >= {
            "count", "packet_counter", "firewall", "syn_limiter", "vlan_rewriter", "load_balancer", "event_sampler",
            "droppacket", "droppacket_unsafe", "ping_filter", "vlan_nat", "dns_filter", "bind_monitor",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("source", "name"),
        [(source, name) for source in SOURCES for name in platforms_of(source)],
        ids=lambda value: getattr(value, "stem", value),
    )
    def test_compile(self, source, name):
        """Each compiles without a warning for its platforms, which its objects show, and has programs of one type."""
        spec = elf.parse(build(source.stem, name), source.name)
        platform = recognise(spec)
        assert platform.name == name
        expected = "bind" if source.stem == "bind_monitor" else "xdp"
        assert {program_type_for(platform, program).name for program in spec} == {expected}
        for declared in spec.maps:
            assert platform.map_problem(declared) is None

    def test_from_the_command_line(self, tmp_path):
        """A sample is compiled into the current folder; for a name that is none, the names that there are."""
        command = [sys.executable, "-m", "anybpf.samples.build"]
        subprocess.run([*command, "count"], cwd=tmp_path, check=True, timeout=120)
        assert (tmp_path / "count.o").read_bytes() == build("count")
        done = subprocess.run([*command, "cout"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith("error: there is no sample 'cout'; there are bind_monitor, count, ")

    @pytest.mark.parametrize("name", SHIPPED)
    def test_shipped_objects(self, name):
        """A shipped object is what its source compiles to (else run `python -m anybpf.samples.build`)."""
        shipped, fresh = (SAMPLES / f"{name}.o").read_bytes(), build(name)
        version = re.compile(rb"clang version [^\0]*")
        ours, theirs = version.search(fresh), version.search(shipped)
        assert ours is not None
        assert theirs is not None
        if ours[0] != theirs[0]:
            pytest.skip(f"made by {theirs[0].decode()}, here is {ours[0].decode()}")
        assert fresh == shipped
