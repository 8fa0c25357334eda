"""Externs of ``.kconfig``: what a program asks about the kernel's version and build options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from anybpf import btf
from anybpf.btf import types
from anybpf.errors import LoadError
from anybpf.spec import KconfigSpec, MapSpec, ObjectSpec

__all__ = ("with_kconfig",)

#: What is known without asking anybody: the version is that of the Linux whose promises the platform ``linux`` makes.
KNOWN = {"LINUX_KERNEL_VERSION": 6 << 16 | 18 << 8, "LINUX_HAS_BPF_COOKIE": 0, "LINUX_HAS_SYSCALL_WRAPPER": 0}

#: What "y", "m" and "n" are to variables of type bool and of libbpf's ``enum libbpf_tristate``.
_BOOL: Final = {"y": 1, "n": 0}
_TRISTATE: Final = {"n": 0, "y": 1, "m": 2}


def with_kconfig(spec: ObjectSpec, values: Mapping[str, int | str]) -> ObjectSpec:
    """Return ``spec`` with ``.kconfig`` variables filled in: from ``values``, else :data:`KNOWN`, else (weak ones) 0.

    :param values: by name; a kernel configuration's ``"y"``, ``"m"`` and ``"n"`` mean to variables of type bool and
        ``enum libbpf_tristate`` what they mean to libbpf. Names that the object does not ask for are ignored.
    :raises LoadError: a variable that is not weak has no value, or a value does not fit its variable.
    """
    if not any(m.kconfig for m in spec.maps):
        return spec
    return replace(spec, maps=tuple(_filled(m, spec, {**KNOWN, **values}) if m.kconfig else m for m in spec.maps))


def _filled(declared: MapSpec, spec: ObjectSpec, values: Mapping[str, int | str]) -> MapSpec:
    contents = bytearray(declared.contents or bytes(declared.value_size))
    for variable in declared.kconfig:
        contents[variable.offset : variable.offset + variable.size] = _bytes(variable, _states(variable, spec), values)
    return replace(declared, contents=bytes(contents))


def _states(variable: KconfigSpec, spec: ObjectSpec) -> Mapping[str, int] | None:
    """Return what "y", "m" and "n" mean to the variable, or None when its type is neither bool nor tristate."""
    if spec.btf is None or not variable.btf_type:
        return None
    table = btf.load(spec.btf)
    declared = table.type(variable.btf_type)
    if not isinstance(declared, types.Variable):
        return None
    match table.resolve(declared.type):
        case types.Integer(is_bool=True):
            return _BOOL
        case types.Enum(name="libbpf_tristate"):
            return _TRISTATE
    return None


def _bytes(variable: KconfigSpec, states: Mapping[str, int] | None, values: Mapping[str, int | str]) -> bytes:
    value = values.get(variable.name)
    if value is None:
        if not variable.weak:
            raise LoadError(
                f"the object asks for {variable.name}, whose value is not known; "
                f"give it with kconfig={{{variable.name!r}: …}}, or declare it __weak"
            )
        return bytes(variable.size)
    if states is not None and isinstance(value, str):
        if value not in states:
            raise LoadError(f"{variable.name}={value!r} is none of {', '.join(map(repr, states))}")
        value = states[value]
    try:
        if isinstance(value, str):
            text = value.encode()
            if len(text) >= variable.size:
                raise OverflowError
            return text.ljust(variable.size, b"\0")
        return value.to_bytes(variable.size, sys.byteorder, signed=value < 0)
    except OverflowError:
        raise LoadError(f"{variable.name}={value!r} does not fit its {variable.size} bytes") from None
