"""The command line: what it prints and how it exits, with good input and with bad."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

import anybpf
from anybpf import isa

SAMPLES = Path(anybpf.__file__).parent / "samples"
CAPTURE = SAMPLES / "traffic.pcap"


def anybpf_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "anybpf", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def raw_program(folder: Path, source: str) -> Path:
    """Write the instructions of ``source`` to a file."""
    path = folder / "prog.bin"
    path.write_bytes(isa.assemble(source))
    return path


class TestVerify:
    def test_an_accepted_program_exits_with_0(self) -> None:
        """Accepted: one line, status 0."""
        done = anybpf_command("verify", SAMPLES / "count.o")
        assert done.returncode == 0
        assert done.stdout.startswith("accepted  count")

    def test_a_rejected_program_exits_with_1_and_names_the_source_line(self) -> None:
        """Rejected: status 1, the reason's code, the instruction, the source line and a suggestion."""
        done = anybpf_command("verify", SAMPLES / "droppacket_unsafe.o")
        assert done.returncode == 1
        for part in (
            "rejected  drop_packet",
            "packet-bounds",
            "at instruction",
            "droppacket_unsafe.c:24",
            "suggestion",
        ):
            assert part in done.stdout

    def test_json_has_the_documented_keys(self) -> None:
        """--json is a list with the documented keys, failure among them."""
        done = anybpf_command("verify", SAMPLES / "droppacket_unsafe.o", "--json")
        (entry,) = json.loads(done.stdout)
        documented = "object section program type platform verdict instructions visited time_ms failure"
        assert set(entry) == set(documented.split())
        assert entry["verdict"] == "reject"
        failure = entry["failure"]
        assert failure["code"] == "packet-bounds"
        assert failure["source"]["line"] == 24
        assert {"message", "instruction", "path", "registers", "suggestion"} <= set(failure)

    def test_raw_instructions_need_a_type(self, tmp_path: Path) -> None:
        """A file of raw instructions verifies with --type, and without it the message says so."""
        path = raw_program(tmp_path, "r0 = 2\nexit\n")
        assert anybpf_command("verify", path, "--type", "xdp").returncode == 0
        refused = anybpf_command("verify", path)
        assert refused.returncode == 2
        assert "--type" in refused.stderr


class TestRun:
    def test_json_counts_packets_and_shows_typed_maps(self) -> None:
        """Every packet of the capture is counted once, by verdict name; map entries are typed and sorted."""
        done = anybpf_command("run", SAMPLES / "count.o", "--pcap", CAPTURE, "--json")
        record = json.loads(done.stdout)
        packets = sum(1 for _ in dpkt.pcap.Reader(CAPTURE.open("rb")))
        assert record["packets"] == packets
        assert record["returns"] == {"XDP_PASS": packets}
        counted = {entry["key"]: entry["value"] for entry in record["maps"]["per_proto"]}
        assert counted == protocols_of(CAPTURE)
        assert list(counted) == sorted(counted)
        assert record["verdict"] == "accept"

    @pytest.mark.parametrize("mode", ["interpreter", "checked", "jit"])
    def test_the_modes_agree(self, mode: str) -> None:
        """Interpreter, checked interpreter and machine code count the same."""
        done = anybpf_command("run", SAMPLES / "droppacket.o", "--pcap", CAPTURE, "--mode", mode, "--json")
        record = json.loads(done.stdout)
        assert record["mode"] == mode
        assert record["returns"] == {"XDP_PASS": 407, "XDP_DROP": 12}
        assert record["maps"]["dropped_packet_map"] == [{"key": 0, "value": 12}]

    def test_packets_that_pass_are_written(self, tmp_path: Path) -> None:
        """--out holds, byte for byte and in order, the packets that were not dropped."""
        out = tmp_path / "passed.pcap"
        assert anybpf_command("run", SAMPLES / "droppacket.o", "--pcap", CAPTURE, "--out", out).returncode == 0
        passed = [packet for _, packet in dpkt.pcap.Reader(out.open("rb"))]
        expected = [packet for _, packet in dpkt.pcap.Reader(CAPTURE.open("rb")) if not is_empty_datagram(packet)]
        assert passed == expected

    def test_a_rejected_program_does_not_run(self) -> None:
        """run verifies first: status 1 and the explanation, nothing on standard output."""
        done = anybpf_command("run", SAMPLES / "droppacket_unsafe.o", "--pcap", CAPTURE)
        assert done.returncode == 1
        assert not done.stdout
        assert "packet-bounds" in done.stderr
        record = json.loads(anybpf_command("run", SAMPLES / "droppacket_unsafe.o", "--pcap", CAPTURE, "--json").stdout)
        assert (record["verdict"], record["packets"], record["failure"]["code"]) == ("reject", 0, "packet-bounds")

    def test_empty_packets_are_packets(self, tmp_path: Path) -> None:
        """Captured packets of no bytes run like others; only a packet that the file lacks is an error."""
        capture = tmp_path / "empty.pcap"
        with capture.open("wb") as file:
            writer = dpkt.pcap.Writer(file)
            for packet in (b"", b"x", b""):
                writer.writepkt(packet)
        done = anybpf_command("run", SAMPLES / "count.o", "--pcap", capture, "--json")
        assert json.loads(done.stdout)["packets"] == 3
        capture.write_bytes(capture.read_bytes()[:-17])
        done = anybpf_command("run", SAMPLES / "count.o", "--pcap", capture)
        assert (done.returncode, "in the middle of a packet" in done.stderr) == (2, True)

    def test_an_unverified_run_stops_at_the_fault(self, tmp_path: Path) -> None:
        """--unverified runs checked, and a bad access ends in a message with status 2."""
        path = raw_program(tmp_path, "r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit\n")
        done = anybpf_command("run", path, "--type", "xdp", "--pcap", CAPTURE, "--unverified")
        assert done.returncode == 2
        assert "stopped at instruction 1" in done.stderr
        path = raw_program(tmp_path, "r0 = 2\nexit\n")
        done = anybpf_command("run", path, "--type", "xdp", "--pcap", CAPTURE, "--unverified", "--json")
        assert json.loads(done.stdout)["mode"] == "checked"

    def test_trust_warns(self, tmp_path: Path) -> None:
        """--trust runs without verification and says so."""
        path = raw_program(tmp_path, "r0 = 2\nexit\n")
        done = anybpf_command("run", path, "--type", "xdp", "--pcap", CAPTURE, "--trust")
        assert done.returncode == 0
        assert "warning: " in done.stderr


class TestOtherCommands:
    def test_brackets_in_names_are_printed_as_they_are(self, tmp_path: Path) -> None:
        """What comes from files is text, never markup of the terminal library."""
        source = tmp_path / "a[bold]b.c"
        source.write_text("int program(void *ctx) { return 0; }\n", encoding="utf-8")
        assert "a[bold]b.o: " in anybpf_command("compile", source).stdout
        assert "a[bold]b.o: " in anybpf_command("show", source.with_suffix(".o")).stdout

    def test_an_object_without_programs_is_pointed_out(self, tmp_path: Path) -> None:
        """verify of an object that holds no program says so."""
        source = tmp_path / "empty.c"
        source.write_text("int unused;\n", encoding="utf-8")
        anybpf_command("compile", source)
        assert "holds no program" in anybpf_command("verify", source.with_suffix(".o")).stderr

    def test_show_lists_programs_and_maps(self) -> None:
        """show --json names every program and map with its kind."""
        record = json.loads(anybpf_command("show", SAMPLES / "count.o", "--json").stdout)
        assert [program["name"] for program in record["programs"]] == ["count"]
        assert [(held["name"], held["kind"]) for held in record["maps"]] == [("per_proto", "hash")]

    def test_a_listing_assembles_back(self) -> None:
        """What disasm prints, --json or not, is the program: its texts assemble to the same bytes."""
        (record,) = json.loads(anybpf_command("disasm", SAMPLES / "count.o", "--json").stdout)
        text = "\n".join(line["text"] for line in record["instructions"])
        assert isa.assemble(text) == anybpf.open(SAMPLES / "count.o")["count"].code
        listing = anybpf_command("disasm", SAMPLES / "count.o").stdout
        assert "call bpf_map_lookup_elem#1" in listing
        assert "__u64 *packets = bpf_map_lookup_elem(&per_proto, &protocol);" in listing

    def test_the_demo_shows_a_rejection_and_two_runs(self) -> None:
        """demo --json holds the rejected sample's reason, and what the accepted ones counted."""
        record = json.loads(anybpf_command("demo", "--json").stdout)
        assert record["rejected"]["failure"]["code"] == "packet-bounds"
        assert [run["program"] for run in record["runs"]] == ["count", "drop_packet"]
        assert all(run["packets"] == 419 for run in record["runs"])

    def test_the_demo_needs_no_clang(self) -> None:
        """Without any clang the demo takes the shipped objects, says so and how to get a clang, and ends well."""
        script = "import sys; sys.modules['ziglang'] = None; from anybpf.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script, "demo"],
            env={**os.environ, "PATH": ""},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "shipped object, as no clang that emits BPF was found: `pip install 'anybpf[clang]'`" in done.stdout
        assert "XDP_DROP" in done.stdout


BAD_INPUT = [
    ("verify", "no-such-file.o"),
    ("show", "EMPTY"),
    ("show", "GARBAGE"),
    ("disasm", "TRUNCATED"),
    ("verify", SAMPLES / "count.o", "--program", "nobody"),
    ("verify", SAMPLES / "count.o", "--type", "no-such-type"),
    ("verify", SAMPLES / "count.o", "--platform", "plan9"),
    ("run", SAMPLES / "count.o"),
    ("run", SAMPLES / "count.o", "--pcap", "no-such.pcap"),
    ("run", SAMPLES / "count.o", "--pcap", SAMPLES / "count.o"),
    ("run", SAMPLES / "count.o", "--pcap", CAPTURE, "--out", CAPTURE),
    ("run", SAMPLES / "count.o", "--pcap", CAPTURE, "--trust", "--unverified"),
    ("run", "BIND", "--pcap", CAPTURE, "--platform", "windows", "--type", "bind"),
    ("show", SAMPLES / "count.o", "--type", "no-such-type"),
    ("disasm", "GARBLED", "--type", "xdp"),
    ("compile", "no-such-file.c"),
    ("compile", "."),
    ("compile", SAMPLES / "count.c", "-o", SAMPLES / "count.c"),
    ("compile", SAMPLES / "count.c", "-D", ""),
    ("compile", "GARBAGE", "-o", "GARBAGE"),
    ("frobnicate",),
    ("verify",),
]


@pytest.mark.parametrize("arguments", BAD_INPUT, ids=lambda a: " ".join(Path(str(x)).name for x in a))
def test_bad_input_is_a_message_and_status_2(arguments: tuple[object, ...], tmp_path: Path) -> None:
    """Bad usage and bad input exit with 2 and a message on standard error, and never show a traceback."""
    contents = {
        "EMPTY": b"",
        "BIND": isa.assemble("r0 = 0\nexit"),
        "GARBLED": b"\xff" * 16,
        "GARBAGE": b"\x7fELF" + bytes(range(256)),
        "TRUNCATED": (SAMPLES / "count.o").read_bytes()[:1000],
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    done = anybpf_command(*(tmp_path / a if a in contents else a for a in arguments))
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stdout + done.stderr


def protocols_of(capture: Path) -> dict[int, int]:
    """Packets by IP protocol, as dpkt reads them: the first header's own number, VLAN-tagged frames left out."""
    counted: dict[int, int] = {}
    for _, packet in dpkt.pcap.Reader(capture.open("rb")):
        kind = packet[12:14]
        if kind in (b"\x08\x00", b"\x86\xdd"):
            protocol = packet[23] if kind == b"\x08\x00" else packet[20]
            counted[protocol] = counted.get(protocol, 0) + 1
    return dict(sorted(counted.items()))


def is_empty_datagram(packet: bytes) -> bool:
    """Whether it is a UDP datagram over IPv4 that carries nothing."""
    return packet[12:14] == b"\x08\x00" and packet[23] == 17 and int.from_bytes(packet[38:40], "big") <= 8


@pytest.mark.linux_only
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed: str) -> None:
    """A command whose standard streams were closed beforehand does its work and says nothing of Python's."""
    command = f"exec {sys.executable} -m anybpf verify {SAMPLES / 'count.o'} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (done.stdout == "") == (">&-" in closed.replace("2>&-", ""))
