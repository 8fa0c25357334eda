"""The shared corpus of real objects: every file parses or is refused as it should, every labelled program is found."""

import csv
import time

import pytest

from anybpf import elf
from anybpf.errors import InstructionError, ObjectError
from anybpf.isa import decode
from anybpf.isa import opcodes as op

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def labels(corpus):
    """The rows of labels.csv, by object."""
    rows: dict[str, list[dict[str, str]]] = {}
    with (corpus / "labels.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            rows.setdefault(row["object"], []).append(row)
    return rows


@pytest.fixture(scope="module")
def specs(corpus):
    """What each file of the corpus parses to, or the ObjectError that refuses it; no file takes over two seconds."""
    found = {}
    for path in sorted((corpus / "objects").rglob("*")):
        if not path.is_file():
            continue
        start = time.process_time()
        try:
            parsed = elf.open(path)
        except ObjectError as error:
            parsed = error
        assert time.process_time() - start < 2, path
        found[path.relative_to(corpus / "objects").as_posix()] = parsed
    assert len(found) == 137
    return found


def test_only_bad_objects_are_refused(specs, labels):
    """The files labelled bad-object are refused, with their name in the message; all others parse."""
    bad = {name for name, rows in labels.items() if any(row["expect"] == "bad-object" for row in rows)}
    refused = {name: found for name, found in specs.items() if isinstance(found, ObjectError)}
    assert set(refused) == bad
    assert all(name.split("/")[-1] in str(error) for name, error in refused.items())


def test_every_labelled_program_is_found(specs, labels):
    """Each row's section and function name one program, about as long as the label, which counts less, says."""
    for name, rows in labels.items():
        if isinstance(specs[name], ObjectError):
            continue
        for row in rows:
            (program,) = (p for p in specs[name] if (p.section, p.name) == (row["section"], row["function"]))
            try:
                count = sum(instruction is not None for instruction in decode(program.code))
            except InstructionError:
                assert row["expect"] == "reject"
                continue
            labelled = int(row["instructions"])
            assert labelled <= count <= labelled * 1.1 + 3


def test_references_lead_somewhere(specs):
    """In every program, references to maps, data, functions and externs are in range."""
    for spec in specs.values():
        if isinstance(spec, ObjectError):
            continue
        for program in spec:
            try:
                text = decode(program.code)
            except InstructionError:
                continue
            starts = {function.slot for function in program.functions}
            for slot, instruction in enumerate(text):
                if instruction is None:
                    continue
                match instruction.opcode, instruction.src:
                    case op.OP_LDDW, op.LDDW_MAP_INDEX:
                        assert not spec.maps[instruction.imm].is_data
                    case op.OP_LDDW, op.LDDW_MAP_INDEX_VALUE:
                        assert instruction.next_imm < spec.maps[instruction.imm].value_size
                    case op.OP_CALL, op.CALL_LOCAL:
                        assert slot + 1 + instruction.imm in starts
                    case op.OP_CALL, op.CALL_KFUNC:
                        assert spec.externs[instruction.imm].is_function


def test_known_objects(specs):
    """A few objects of each family say what their sources say."""
    tail_calls = specs["build/prog_array.o"]
    assert tail_calls.maps[0].values == ((0, "func0"), (1, "func1"), (2, "func2"), (3, "func3"))
    assert specs["build/map_in_map.o"].maps[1].inner.value_size == 4
    assert specs["build/map_in_map_legacy.o"].maps[0].inner.name == "inner_map"
    assert [f.name for f in specs["build/bpf2bpf.o"]["func"].functions] == ["func", "add2", "add1"]
    assert [e.name for e in specs["build/badrelo.o"].externs] == ["ebpf_map_update_elem"]
    calls = specs["cilium/bpf_xdp_dsr_linux.o"].maps[specs["cilium/bpf_xdp_dsr_linux.o"].map_index("cilium_calls_xdp")]
    assert (16, "tail_nodeport_nat_ipv6") in calls.values
    counters = specs["linux/xdp1_kern.o"]
    assert (counters.license, counters.maps[0].name, counters["xdp1"].section) == ("GPL", "rxcnt", "xdp1")
    windows = specs["invalid/dac31099c3bb5b6395908c82cc8540e77a6a1849"]
    assert windows["BindMonitor"].context_type == "bind_md_t"
