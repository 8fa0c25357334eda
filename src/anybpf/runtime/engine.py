"""The native engine, for hooks that run their own loop in C: ``lib`` is what ``_engine/api_*.h`` declare.

Most hooks need no more than :meth:`anybpf.runtime.AttachPoint.run`.
"""

from anybpf.runtime._engine import ffi, lib

__all__ = ("ffi", "lib")
