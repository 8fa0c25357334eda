"""Which program a Windows process runs."""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ("image_name",)

_QUERY = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
_PATH_SIZE = 32768  # characters: no path is longer


def image_name(pid: int) -> str:
    """Return the file name of the executable of process ``pid``, without its folder; "" when Windows does not tell."""
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - only Windows has it
    kernel.OpenProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.OpenProcess(_QUERY, False, pid))
    if not process:
        return ""
    try:
        path = ctypes.create_unicode_buffer(_PATH_SIZE)
        size = ctypes.c_uint32(_PATH_SIZE)
        found = kernel.QueryFullProcessImageNameW(process, 0, path, ctypes.byref(size))
        return path.value.rpartition("\\")[2] if found else ""
    finally:
        kernel.CloseHandle(process)
