"""LLVM on this machine: what its code needs from the C library, and memory that is given back."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anybpf.errors import LoadError
from anybpf.runtime.jit import compile_program
from anybpf.runtime.jit_bindings import Bindings
from anybpf.runtime.jit_machine import FULL_LIMIT, LinkedCode, Pipeline, compile_object, host, pipeline_for
from machine_code import ENTRY, address, program

CALLED = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


@pytest.mark.parametrize("pipeline", Pipeline)
def test_frames_larger_than_a_page(pipeline: Pipeline) -> None:
    """Windows wants large frames probed by a function of its C library; the linker finds it."""
    ir = """
        declare i64 @called(ptr)
        define i64 @entry(i64 %a, i64 %b, ptr %slot) nounwind {
          %frame = alloca [9000 x i8]
          %result = call i64 @called(ptr %frame)
          ret i64 %result
        }"""

    @CALLED
    def called(frame: int) -> int:
        ctypes.memset(frame, 1, 9000)
        return 5

    with LinkedCode(compile_object(ir, pipeline), {"called": address(called)}, ("entry",)) as code:
        assert ENTRY(code["entry"])(0, 0, 0) == 5


def test_functions_of_the_c_library_that_llvm_calls_by_itself() -> None:
    """A loop that fills memory may become a call of memset, which is found without being named."""
    ir = """
        declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
        define i64 @entry(ptr %a, i64 %length, ptr %slot) nounwind {
          call void @llvm.memset.p0.i64(ptr %a, i8 7, i64 %length, i1 false)
          ret i64 1
        }"""
    memory = ctypes.create_string_buffer(100)
    with LinkedCode(compile_object(ir, Pipeline.FULL), {}, ("entry",)) as code:
        assert ENTRY(code["entry"])(ctypes.addressof(memory), 60, 0) == 1
    assert memory.raw == b"\x07" * 60 + bytes(40)


def test_text_that_llvm_refuses_is_a_load_error() -> None:
    """LLVM's complaint arrives as an error of ours."""
    with pytest.raises(LoadError, match="LLVM refused"):
        compile_object("define i64 @entry() { ret i32 0 }", Pipeline.FULL)


def test_large_programs_get_less_work() -> None:
    """Every size has a pipeline; past the limit it is the brief one."""
    assert pipeline_for(2) is pipeline_for(FULL_LIMIT) is Pipeline.FULL
    assert pipeline_for(FULL_LIMIT + 1) is Pipeline.BRIEF


def test_the_host_is_described_completely() -> None:
    """What the cached code depends on besides the program: triple, CPU, features, layout and version are all there."""
    here = host()
    assert all((here.triple, here.cpu, here.layout))
    assert "LLVM" in here.llvm
    assert str(here).count("\n") == 4


def test_threads_compile_at_the_same_time() -> None:
    """Threads compile, run and free their own programs without disturbing one another."""

    def work(number: int) -> list[int]:
        results = []
        for step in range(4):
            with compile_program(program(f"r0 = r1\nr0 *= {number}\nr0 += {step}\nexit"), Bindings()) as code:
                results.append(ENTRY(code.entry)(1000, 0, 0))
        return results

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(8)))
    assert found == [[1000 * number + step for step in range(4)] for number in range(8)]


@pytest.mark.linux_only
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc/self/maps")
def test_closing_gives_the_memory_back() -> None:
    """Programs that come and go leave no mapped memory behind."""

    def mappings_after(rounds: int) -> int:
        for _ in range(rounds):
            with LinkedCode(code, {}, ("entry",)):
                pass
        return len(Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())

    code = compile_object("define i64 @entry() nounwind { ret i64 1 }", Pipeline.BRIEF)
    before = mappings_after(5)
    assert mappings_after(100) <= before + 5
