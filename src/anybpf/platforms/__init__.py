"""What each platform promises to programs, and which platform and program type an object is for."""

from anybpf.platforms.externs import with_helpers_by_name
from anybpf.platforms.linux import linux
from anybpf.platforms.model import (
    Arg,
    ArgKind,
    AttachRule,
    Callback,
    ChainRule,
    Context,
    ContextField,
    FieldKind,
    Helper,
    MapKind,
    MapRules,
    Platform,
    ProgramType,
    ReturnKind,
    Section,
)
from anybpf.platforms.raw import raw
from anybpf.platforms.selection import by_name, program_type_for, recognise
from anybpf.platforms.windows import windows

__all__ = (
    "Arg",
    "ArgKind",
    "AttachRule",
    "Callback",
    "ChainRule",
    "Context",
    "ContextField",
    "FieldKind",
    "Helper",
    "MapKind",
    "MapRules",
    "Platform",
    "ProgramType",
    "ReturnKind",
    "Section",
    "by_name",
    "linux",
    "program_type_for",
    "raw",
    "recognise",
    "windows",
    "with_helpers_by_name",
)
