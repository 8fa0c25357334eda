"""The ELF container: what is refused and how, and agreement with pyelftools about real files."""

import io
import struct
import subprocess
import sys

import pytest

from anybpf import elf
from anybpf.elf.file import ElfFile
from anybpf.errors import ObjectError
from elfwriter import EXIT, ElfWriter, mov


def simple(**fields: object) -> bytes:
    """Return an object of one program, with some of the header's fields changed."""
    writer = ElfWriter(**fields)
    writer.function("main", writer.code("xdp", mov(0, 0) + EXIT), 0, 16)
    return writer.bytes()


def patched(offset: int, form: str, *values: int) -> bytes:
    """Return the simple object with numbers written over it."""
    data = bytearray(simple())
    struct.pack_into(form, data, offset, *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"int main(void) {}", "not an ELF file; compile C sources"),
        (b"\x7fELF", "cut short"),
        (simple()[:63], "cut short"),
        (simple()[:200], "section headers lie beyond the end"),
        (simple(machine=62), "compiled for x86-64, not for eBPF"),
        (simple(machine=183), "compiled for AArch64"),
        (simple(machine=4711), "compiled for machine 4711"),
        (simple(kind=2), "not a relocatable object"),
        (simple(ident=b"\x7fELF\x02\x02\x01" + bytes(9)), "big-endian object; recompile .* --target=bpfel"),
        (simple(ident=b"\x7fELF\x01\x01\x01" + bytes(9)), "not a 64-bit ELF file"),
        (simple(ident=b"\x7fELF\x02\x07\x01" + bytes(9)), "unknown numbers"),
        (patched(60, "<H", 0), "no section headers"),
        (patched(58, "<H", 40), "no section headers"),
        (patched(40, "<Q", 1 << 60), "section headers lie beyond the end"),
    ],
)
def test_unusable_files_are_refused(data, message):
    """What is no 64-bit little-endian relocatable eBPF file is refused, with the file's name and a remedy."""
    with pytest.raises(ObjectError, match=message) as caught:
        elf.parse(data, "some.o")
    assert str(caught.value).startswith("some.o: ")


def test_objects_without_a_machine_number():
    """clang before 3.8 wrote machine 0; such objects are accepted."""
    assert [p.name for p in elf.parse(simple(machine=0), "old.o")] == ["main"]


def test_sections_outside_the_file_are_refused():
    """A section that claims bytes beyond the end of the file is refused with its name."""
    data = bytearray(simple())
    headers = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, headers + 64 + 32, 1 << 40)
    with pytest.raises(ObjectError, match="section 'xdp'"):
        elf.parse(bytes(data), "cut.o")


def test_symbols_in_unknown_sections_are_refused():
    """A symbol whose section does not exist is refused with the symbol's name."""
    writer = ElfWriter()
    writer.symbol("lost", 38)
    with pytest.raises(ObjectError, match="symbol 'lost' is in section 38"):
        elf.parse(writer.bytes(), "lost.o")


def test_relocations_of_unknown_symbols_are_refused():
    """A relocation against a symbol that does not exist is refused."""
    writer = ElfWriter()
    xdp = writer.code("xdp", mov(0, 0) + EXIT)
    symbol = writer.function("main", xdp, 0, 16)
    symbol.index = 900
    writer.relocate(xdp, 0, symbol)
    with pytest.raises(ObjectError, match="symbol 900, which does not exist"):
        elf.parse(writer.bytes(), "bad.o")


def test_names_that_are_no_text():
    """Bytes that are no UTF-8 in a name do not prevent reading the file."""
    data = simple().replace(b"main", b"m\xff\xfen")
    assert [p.name for p in elf.parse(data, "odd.o")] == ["m\\xff\\xfen"]


def test_files(tmp_path):
    """A file is read by path and called by its last part; one that cannot be read is refused like a bad one."""
    path = tmp_path / "prog.o"
    path.write_bytes(simple())
    assert elf.open(path).name == "prog.o"
    assert elf.open(str(path)) == elf.parse(simple(), "prog.o")
    for missing in (tmp_path / "none.o", tmp_path):
        with pytest.raises(ObjectError, match="cannot be read"):
            elf.open(missing)


def test_import_is_light():
    """Reading objects needs neither LLVM nor pyelftools."""
    code = "import sys, anybpf.elf, anybpf.btf.core; print([m for m in ('elftools', 'llvmlite') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.corpus
def test_agreement_with_pyelftools(corpus):
    """Sections, symbols and relocations of real files are those that pyelftools reads."""
    elftools = pytest.importorskip("elftools.elf.elffile")
    for path in sorted((corpus / "objects" / "build").glob("*.o")):
        data = path.read_bytes()
        ours, theirs = ElfFile(data, path.name), elftools.ELFFile(io.BytesIO(data))
        assert [(s.name, s.size, s.flags) for s in ours.sections] == [
            (s.name, s["sh_size"], s["sh_flags"]) for s in theirs.iter_sections()
        ]
        symbols = theirs.get_section_by_name(".symtab").iter_symbols()
        assert [(s.name, s.value, s.size) for s in ours.symbols] == [
            (s.name, s["st_value"], s["st_size"]) for s in symbols
        ]
        for section in ours.sections:
            table = theirs.get_section_by_name(f".rel{section.name}")
            if section.is_code and table is not None:
                assert [(r.offset, r.type, r.symbol) for r in ours.relocations(section)] == sorted(
                    (r["r_offset"], r["r_info_type"], r["r_info_sym"]) for r in table.iter_relocations()
                )
