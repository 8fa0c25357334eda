"""The oracle for soundness is execution: what the verifier accepts never makes the checked interpreter stop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from anybpf import elf, isa
from anybpf.errors import ProgramFault
from anybpf.platforms import linux, program_type_for
from anybpf.runtime import load
from anybpf.spec import MapSpec, ObjectSpec
from anybpf.verifier import verify_program
from edgeprograms import EdgeProgram, flag_program, packet_program

KEY = bytes(4)


def object_of(program: EdgeProgram) -> ObjectSpec:
    """The object with the program and its map."""
    spec = elf.from_instructions(isa.assemble(program.source), "xdp", "edge")
    return replace(spec, maps=(MapSpec("cell", 2, 4, program.value_size, 1),))


def random_bytes(random: Random, size: int) -> bytes:
    """Bytes of which some are at the ends of their range."""
    return bytes(
        random.choice((random.getrandbits(8), random.getrandbits(8), 0, 1, 127, 128, 255)) for _ in range(size)
    )


@pytest.mark.parametrize("make", [flag_program, packet_program])
@pytest.mark.parametrize("seed", range(4))
def test_accepted_programs_do_not_fault(make: object, seed: int) -> None:
    """Random programs that are accepted run without a fault on random packets and map contents; many are refused."""
    random = Random(f"{make.__name__} {seed}")
    counts: Counter[str] = Counter()
    for _ in range(120):
        program = make(random)
        spec = object_of(program)
        verdict = verify_program(spec, spec.programs[0], linux, program_type_for(linux, spec.programs[0]))
        counts[verdict.failure.code if verdict.failure is not None else "accepted"] += 1
        if not verdict.ok:
            continue
        with load(spec) as loaded:
            for _ in range(12):
                loaded.maps["cell"].raw[KEY] = random_bytes(random, program.value_size)
                packet = random_bytes(random, random.choice((14, 15, 18, 22, 30, 64, 300)))
                try:
                    loaded.programs["edge"].test_run(packet, mode="checked")
                except ProgramFault as fault:
                    pytest.fail(f"accepted, and stopped: {fault}\n{program.source}")
    assert counts["internal-error"] == 0
    assert counts["accepted"] > 20
    assert sum(counts.values()) - counts["accepted"] > 5
