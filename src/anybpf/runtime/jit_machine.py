"""LLVM on this machine: IR text to an object file, and an object file to code in memory.

LLVM is loaded when it is first needed, and never unloaded. llvmlite takes one lock around every call into LLVM, so any
thread may use this module, and only one compiles at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Self

from anybpf.errors import LoadError


class Pipeline(Enum):
    """How much work LLVM puts into a program. The values are part of the code cache's keys: they say what is done."""

    FULL = "LLVM's -O2: inlining, loop optimisations, loops as vector code"
    BRIEF = "the passes of -O1 within each function; for large programs, where all of -O2 takes more than twice as long"


#: Slots of program text up to which FULL stays well below 300 ms on the machines measured (benchmarks/run.py).
FULL_LIMIT = 2000


def pipeline_for(slots: int) -> Pipeline:
    """Choose the pipeline for a program text of ``slots`` slots."""
    return Pipeline.FULL if slots <= FULL_LIMIT else Pipeline.BRIEF


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that runs the code: LLVM's target triple, CPU name and features, data layout, and LLVM's version."""

    triple: str
    cpu: str
    features: str
    layout: str
    llvm: str

    def __str__(self) -> str:
        return "\n".join((self.triple, self.cpu, self.features, self.layout, self.llvm))


@lru_cache(maxsize=1)
def _llvm() -> Any:
    try:
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        raise LoadError(f"LLVM cannot be loaded, so programs run in the interpreter only: {error}") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@lru_cache(maxsize=1)
def host() -> Host:
    """Describe this machine. LoadError when LLVM cannot be loaded."""
    llvm = _llvm()
    import llvmlite

    machine = _machine()
    version = f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"
    return Host(machine.triple, *_cpu(), str(machine.target_data), version)


@lru_cache(maxsize=1)
def _cpu() -> tuple[str, str]:
    llvm = _llvm()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@lru_cache(maxsize=1)
def _machine() -> Any:
    llvm = _llvm()
    cpu, features = _cpu()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)


def compile_object(ir: str, pipeline: Pipeline) -> bytes:
    """Compile LLVM IR to an object file for this machine, whose code may be placed anywhere.

    :raises LoadError: when LLVM refuses the text.
    """
    llvm, machine, here = _llvm(), _machine(), host()
    context = llvm.create_context()
    text = f'target triple = "{here.triple}"\ntarget datalayout = "{here.layout}"\n{ir}'
    try:
        with llvm.parse_assembly(text, context) as module:
            _optimise(module, machine, pipeline)
            return bytes(machine.emit_object(module))
    except RuntimeError as error:
        raise LoadError(f"LLVM refused the translated program: {error}") from error
    finally:
        context.close()


def _optimise(module: Any, machine: Any, pipeline: Pipeline) -> None:
    llvm = _llvm()
    full = pipeline is Pipeline.FULL
    options = llvm.create_pipeline_tuning_options(2 if full else 1)
    options.loop_vectorization = full
    options.slp_vectorization = False  # a quarter of the passes' time, and no program of the benchmarks gains
    with options, llvm.create_pass_builder(machine, options) as builder:
        if full:
            with builder.getModulePassManager() as passes:
                passes.run(module, builder)
        else:
            with builder.getFunctionPassManager() as passes:
                for function in module.functions:
                    if not function.is_declaration:
                        passes.run(function, builder)


class LinkedCode:
    """An object file linked into this process. Owns the memory: addresses hold until :meth:`close`.

    :param imports: addresses of the symbols that it refers to; others are looked up in the C library.
    :param exports: symbols whose addresses are wanted.
    :raises LoadError: when the file is damaged, or a symbol is missing.
    """

    def __init__(self, code: bytes, imports: Mapping[str, int], exports: tuple[str, ...]) -> None:
        llvm = _llvm()
        self._library: Any = None
        self._linker = llvm.create_lljit_compiler(_machine(), suppress_errors=True)
        try:
            builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
            for name, address in imports.items():
                builder.import_symbol(name, address)
            for name in exports:
                builder.export_symbol(name)
            self._library = builder.link(self._linker, "program")
        except RuntimeError as error:
            self.close()
            raise LoadError(f"machine code cannot be linked: {error}") from error

    def __getitem__(self, name: str) -> int:
        """Return the address of an exported symbol."""
        return int(self._library[name])

    def close(self) -> None:
        """Free the memory. Nothing may be running in it."""
        if self._library is not None:
            self._library.close()
            self._library = None
        self._linker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
