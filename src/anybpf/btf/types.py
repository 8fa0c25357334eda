"""The types that BTF can describe, one frozen dataclass a kind (Linux Documentation/bpf/btf.rst §2.2).

References to other types are ids, as in the file; id 0 is void. Look them up in a :class:`anybpf.btf.Btf`.
Sizes are bytes unless a name says bits.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = (
    "Array",
    "DataSection",
    "DeclarationTag",
    "Enum",
    "Enumerator",
    "Float",
    "Forward",
    "Function",
    "Integer",
    "Member",
    "Modifier",
    "Parameter",
    "Pointer",
    "Prototype",
    "SectionVariable",
    "Struct",
    "Type",
    "Typedef",
    "Variable",
    "Void",
)


@dataclass(frozen=True, slots=True)
class Void:
    """``void``, the type with id 0."""

    name: str = "void"


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer, character or bool.

    :param size: bytes of the storage. :param bits: bits of the value (less than 8 × size only in old bitfields).
    :param bit_offset: where those bits begin in the storage (0 but for old bitfields).
    """

    name: str
    size: int
    bits: int
    bit_offset: int = 0
    is_signed: bool = False
    is_char: bool = False
    is_bool: bool = False


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point number of ``size`` bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer to ``type``; 8 bytes in BPF."""

    type: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """``length`` elements of ``type``; :param index_type: the type that C would index it with."""

    type: int
    index_type: int
    length: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union.

    :param bit_offset: bits from the start of the struct. :param bit_size: bits of a bitfield, 0 for ordinary members.
    """

    name: str
    type: int
    bit_offset: int
    bit_size: int = 0

    @property
    def offset(self) -> int:
        """Bytes from the start of the struct (of a bitfield: of the byte that holds its first bit)."""
        return self.bit_offset // 8


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct, or a union when ``is_union``."""

    name: str
    size: int
    members: tuple[Member, ...]
    is_union: bool = False

    def member(self, name: str) -> Member | None:
        """Return the member called ``name``, or None."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True, slots=True)
class Enumerator:
    """A name and its value."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum of ``size`` bytes (ENUM, or ENUM64 when 8 bytes wide values are needed)."""

    name: str
    size: int
    values: tuple[Enumerator, ...]
    is_signed: bool = False
    is_64: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """A struct or union that is declared and not defined."""

    name: str
    is_union: bool = False


@dataclass(frozen=True, slots=True)
class Typedef:
    """Another name for ``type``."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Modifier:
    """``const``, ``volatile``, ``restrict`` (in ``keyword``), or a type tag (``type_tag``, its text in ``name``)."""

    type: int
    keyword: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a prototype; the last one of a variadic function has no name and type 0."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Prototype:
    """The type of a function."""

    return_type: int
    parameters: tuple[Parameter, ...]
    name: str = ""


#: Linkage numbers of functions and variables (enum btf_func_linkage and BTF_VAR_*).
LINKAGE_STATIC = 0
LINKAGE_GLOBAL = 1
LINKAGE_EXTERN = 2


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is defined or declared; ``type`` is its :class:`Prototype`, ``linkage`` one of ``LINKAGE_*``."""

    name: str
    type: int
    linkage: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A global or static variable."""

    name: str
    type: int
    linkage: int


@dataclass(frozen=True, slots=True)
class SectionVariable:
    """Where a :class:`Variable` lies in its section. clang leaves ``offset`` 0 and lets a relocation fill it."""

    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DataSection:
    """The variables of an ELF section."""

    name: str
    size: int
    variables: tuple[SectionVariable, ...]


@dataclass(frozen=True, slots=True)
class DeclarationTag:
    """``__attribute__((btf_decl_tag(name)))`` on ``type``; :param component: index of a member or parameter, or -1."""

    name: str
    type: int
    component: int


Type = (
    Void
    | Integer
    | Float
    | Pointer
    | Array
    | Struct
    | Enum
    | Forward
    | Typedef
    | Modifier
    | Prototype
    | Function
    | Variable
    | DataSection
    | DeclarationTag
)
