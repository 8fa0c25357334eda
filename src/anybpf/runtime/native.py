"""A program as the engine holds it: code for the interpreter and, once compiled, for the machine."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from anybpf.errors import LoadError
from anybpf.runtime._engine import lib
from anybpf.runtime.context import Context
from anybpf.runtime.lowering import Lowered

if TYPE_CHECKING:
    from anybpf.runtime.jit import CompiledCode
    from anybpf.runtime.jit_bindings import Bindings

__all__ = ("NativeProgram",)


class NativeProgram:
    """Owns an ``ab_program`` and its machine code; once it is garbage they are freed, when nothing can be running them.

    :param handle: the ``ab_program *``. :param maps: ``ab_map *`` by index.
    :param tail_call: id of the platform's tail call helper, or None.
    :param owners: of the functions behind ``addresses`` that are not the engine's.
    """

    def __init__(
        self,
        context: Context,
        handle: Any,
        lowered: Lowered,
        addresses: dict[int, int],
        maps: list[Any],
        tail_call: int | None,
        owners: tuple[object, ...] = (),
    ) -> None:
        self.handle = handle
        self._lowered = lowered
        self._addresses = addresses
        self._maps = maps
        self._tail_call = tail_call
        self._lock = threading.Lock()
        self._code: list[CompiledCode] = []
        self.refusal: LoadError | None = None
        weakref.finalize(self, context.retire, handle, self._code, owners).atexit = False

    @property
    def compiled(self) -> bool:
        """Whether there is machine code."""
        return bool(self._code)

    @property
    def code_size(self) -> int:
        """Bytes of the machine code, 0 when there is none."""
        return sum(code.size for code in self._code)

    def _bindings(self) -> Bindings:
        from anybpf.runtime import jit_bindings

        return jit_bindings.bind(self._maps, self._addresses, self._tail_call)

    def compile(self) -> None:
        """Compile the program, unless that has been done, and run it as machine code from now on.

        :raises LoadError: it cannot be compiled; it goes on running in the interpreter.
        """
        with self._lock:
            if self._code:
                return
            from anybpf.runtime.jit import compile_program, default_cache

            code = compile_program(self._lowered, self._bindings(), default_cache())
            self._code.append(code)
            lib.ab_program_set_entry(self.handle, code.entry)

    def compile_quietly(self) -> None:
        """Compile if that can be done; what cannot be compiled stays in the interpreter."""
        try:
            self.compile()
        except LoadError as error:
            self.refusal = error
