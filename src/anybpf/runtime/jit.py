"""The JIT: a lowered program to machine code of this process.

    with compile_program(lowered, bind(maps, helpers, tail_call)) as code:
        code.entry  # address of uint64_t entry(uint64_t r1, uint64_t r2, ab_slot *slot)

What happens in between: :mod:`~anybpf.runtime.jit_flow` (control flow), :mod:`~anybpf.runtime.jit_translate` (LLVM IR),
:mod:`~anybpf.runtime.jit_machine` (LLVM), :mod:`~anybpf.runtime.code_cache` (kept on disk),
:mod:`~anybpf.runtime.jit_bindings` (addresses).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from anybpf.errors import LoadError
from anybpf.runtime import code_cache
from anybpf.runtime.code_cache import CodeCache
from anybpf.runtime.jit_bindings import Bindings
from anybpf.runtime.jit_machine import LinkedCode, compile_object, host, pipeline_for
from anybpf.runtime.jit_symbols import ENTRY, Shapes
from anybpf.runtime.jit_translate import translate

if TYPE_CHECKING:  # lowering needs the verifier, and the JIT alone does not
    from anybpf.runtime.lowering import Lowered


class CompiledCode:
    """A program's machine code in memory, which it owns: the address holds until :meth:`close`.

    :param size: bytes of the object file. :param cached: whether it came from the disk.
    """

    def __init__(self, linked: LinkedCode, size: int, cached: bool) -> None:
        self._linked = linked
        self.size = size
        self.cached = cached

    @property
    def entry(self) -> int:
        """Address of ``uint64_t entry(uint64_t r1, uint64_t r2, ab_slot *slot)``."""
        return self._linked[ENTRY]

    def close(self) -> None:
        """Free the memory. The caller makes sure that no thread is running in it."""
        self._linked.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def default_cache() -> CodeCache | None:
    """Return this user's cache of machine code, or None where the environment turns it off."""
    directory = code_cache.default_directory()
    return None if directory is None else CodeCache(directory)


def compile_program(lowered: Lowered, bindings: Bindings, cache: CodeCache | None = None) -> CompiledCode:
    """Compile a lowered program, or take its machine code from ``cache``.

    The cost is LLVM's: milliseconds for a hundred instructions, some hundred for thousands. It may run in any thread,
    and other threads go on while LLVM works.

    :param cache: where to look first and to store the result; None compiles always.
    :raises LoadError: when the program cannot be compiled (with the instruction at fault), or LLVM is not there.
    """
    ir = translate_program(lowered, bindings)
    pipeline = pipeline_for(len(lowered.text))
    if cache is not None:
        name = code_cache.key(ir, str(host()), pipeline.value)
        stored = cache.get(name)
        if stored is not None:
            try:
                return CompiledCode(LinkedCode(stored, bindings.symbols(), (ENTRY,)), len(stored), cached=True)
            except LoadError:
                pass  # made by an LLVM that reports the same version and is not the same: compile again
    code = compile_object(ir, pipeline)
    compiled = CompiledCode(LinkedCode(code, bindings.symbols(), (ENTRY,)), len(code), cached=False)
    if cache is not None:
        cache.put(name, code)
    return compiled


def translate_program(lowered: Lowered, bindings: Bindings) -> str:
    """Return the program as LLVM IR. It is the same in every process, and the cache's key.

    :raises LoadError: for what cannot be compiled, with the instruction.
    """
    arrays = {index: bound.layout for index, bound in bindings.maps.items() if bound.layout is not None}
    shapes = Shapes(
        arrays,
        lowered.array_lookups,
        bindings.tail_call,
        bindings.cpu_offset,
        bindings.event_size,
        bindings.slot_stack,
    )
    return translate(lowered.text, lowered.functions, shapes)
