"""The native engine (cffi, API mode): ``lib`` holds what ``_engine/api_*.h`` declare, ``ffi`` makes and reads C data."""

from typing import Any

ffi: Any
lib: Any
