"""The native engine (cffi, API mode): ``lib`` is what ``_engine/api_*.h`` declare, ``ffi`` makes and reads C data."""

from typing import Any

ffi: Any
lib: Any
