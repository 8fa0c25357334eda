"""Externs of ``.kconfig``: what a program asks about the kernel's version and build options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from anybpf.errors import LoadError
from anybpf.spec import KconfigSpec, MapSpec, ObjectSpec

__all__ = ("with_kconfig",)

#: What is known without asking anybody: the version is that of the Linux whose promises the platform ``linux`` makes.
KNOWN = {"LINUX_KERNEL_VERSION": 6 << 16 | 18 << 8, "LINUX_HAS_BPF_COOKIE": 0, "LINUX_HAS_SYSCALL_WRAPPER": 0}


def with_kconfig(spec: ObjectSpec, values: Mapping[str, int | str]) -> ObjectSpec:
    """Return ``spec`` with ``.kconfig`` variables filled in: from ``values``, else :data:`KNOWN`, else (weak ones) 0.

    :raises LoadError: a variable that is not weak has no value, or a value does not fit its variable.
    """
    if not any(m.kconfig for m in spec.maps):
        return spec
    return replace(spec, maps=tuple(_filled(m, {**KNOWN, **values}) if m.kconfig else m for m in spec.maps))


def _filled(declared: MapSpec, values: Mapping[str, int | str]) -> MapSpec:
    contents = bytearray(declared.contents or bytes(declared.value_size))
    for variable in declared.kconfig:
        contents[variable.offset : variable.offset + variable.size] = _bytes(variable, values)
    return replace(declared, contents=bytes(contents))


def _bytes(variable: KconfigSpec, values: Mapping[str, int | str]) -> bytes:
    value = values.get(variable.name)
    if value is None:
        if not variable.weak:
            raise LoadError(
                f"the object asks for {variable.name}, whose value is not known; "
                f"give it with kconfig={{{variable.name!r}: …}}, or declare it __weak"
            )
        return bytes(variable.size)
    try:
        if isinstance(value, str):
            text = value.encode()
            if len(text) >= variable.size:
                raise OverflowError
            return text.ljust(variable.size, b"\0")
        return value.to_bytes(variable.size, sys.byteorder, signed=value < 0)
    except OverflowError:
        raise LoadError(f"{variable.name}={value!r} does not fit its {variable.size} bytes") from None
