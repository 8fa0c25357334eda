"""What a platform promises, as data: program types, contexts, helpers, map types.

The same tables are read by the verifier, the runtime, the headers for C programs and the reference pages, so that no
fact about a platform is written twice.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anybpf.errors import PlatformError
from anybpf.platforms.attach_model import AttachRule, ChainRule
from anybpf.platforms.map_model import MapKind, MapRules
from anybpf.spec import MapSpec

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
)


class FieldKind(enum.Enum):
    """What a program gets when it loads a context field."""

    SCALAR = "scalar"
    PACKET = "packet"  # first byte of the event's data
    PACKET_END = "packet_end"  # one past the last byte
    PACKET_META = "packet_meta"  # first byte of the metadata before the data
    BUFFER = "buffer"  # first byte of ContextField.buffer: a real pointer, as is the next
    BUFFER_END = "buffer_end"  # one past its last byte
    SOCKET = "socket"  # a pointer to ContextField.structure
    SOCKET_OR_NULL = "socket_or_null"
    FLOW_KEYS = "flow_keys"  # a pointer to a struct bpf_flow_keys (56 bytes)
    ARGUMENT = "argument"  # a traced function's argument: a pointer or a number, known from BTF only


@dataclass(frozen=True, slots=True)
class ContextField:
    """A field of a context structure.

    :param offset: bytes from the start. :param size: bytes of the whole field (of an array, the whole array).
    :param element: access granule: natural width of one element (equals ``size`` except for arrays).
    :param writable: programs may store to it, whole elements at a time.
    :param narrow: loads narrower than ``element`` are allowed.
    :param narrowest: bytes of the narrowest such load.
    :param narrow_extent: such loads begin in the first so many bytes of an element only; 0: anywhere in it.
    :param narrow_writable: stores may be narrow too.
    :param wide: 8-byte aligned loads (and stores where writable) over two 4-byte elements are allowed.
    :param attach_types: the field exists for these attach types only; empty: for all.
    :param structure: name in Platform.structures of what a pointer field points to.
    :param buffer: name of the buffer that the pointer bounds; one context may have several. Buffers' pointers stand in
        pairs at the start of the context, so that the engine can set them without knowing more.
    :param buffer_writable: programs may store to that buffer.
    """

    name: str
    offset: int
    size: int
    kind: FieldKind = FieldKind.SCALAR
    readable: bool = True
    writable: bool = False
    element: int = 0
    narrow: bool = True
    narrowest: int = 1
    narrow_extent: int = 0
    narrow_writable: bool = False
    wide: bool = False
    attach_types: frozenset[str] = frozenset()
    structure: str = ""
    buffer: str = ""
    buffer_writable: bool = False

    def __post_init__(self) -> None:
        if not self.element:
            object.__setattr__(self, "element", self.size)

    def allows(self, offset: int, width: int, *, write: bool = False) -> bool:
        """Whether ``width`` bytes at ``offset`` of the context, all inside this field, may be loaded (or stored)."""
        if not (self.writable if write else self.readable):
            return False
        if width == self.element:
            return (offset - self.offset) % width == 0
        if width == 2 * self.element:
            return self.wide and width == 8
        if width > self.element or not (self.narrow_writable if write else self.narrow):
            return False
        start = (offset - self.offset) % self.element
        return width >= self.narrowest and start < (self.narrow_extent or self.element)


@dataclass(frozen=True, slots=True)
class Context:
    """The structure that a program's first argument points to; also any other structure that programs may look into.

    :param name: the C struct's (or typedef's) BTF name, such as ``xdp_md``; "" when the argument is no structure.
    :param size: bytes. :param fields: ascending by offset; what no field covers may not be accessed.
    :param memory: the argument is no structure but plain memory, readable and writable, whose length in bytes is in r2.
    """

    name: str
    size: int
    fields: tuple[ContextField, ...] = ()
    memory: bool = False

    def field_at(self, offset: int, width: int) -> ContextField | None:
        """Return the field that holds the ``width`` bytes at ``offset``, or None."""
        for candidate in self.fields:
            if candidate.offset <= offset and offset + width <= candidate.offset + candidate.size:
                return candidate
        return None

    def access(self, offset: int, width: int, *, write: bool = False) -> ContextField | None:
        """Return the field that a load (or store) of ``width`` bytes at ``offset`` reaches; None: it is not allowed.

        Accesses must be aligned to their width.
        """
        found = self.field_at(offset, width)
        if found is None or offset % width or not found.allows(offset, width, write=write):
            return None
        return found

    def for_attach_type(self, attach_type: str) -> Context:
        """Return the context as programs of ``attach_type`` see it."""
        fields = (f for f in self.fields if not f.attach_types or attach_type in f.attach_types)
        return replace(self, fields=tuple(fields))

    def field_named(self, name: str) -> ContextField:
        """Return the field called ``name``; KeyError when there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


class ArgKind(enum.Enum):
    """What a helper demands of an argument."""

    ANYTHING = "anything"  # any initialised scalar (or, for the privileged, pointer)
    SCALAR = "scalar"  # a number, never a pointer
    CONTEXT = "context"  # the program's context pointer, offset zero
    MAP = "map"  # a map reference; Arg.maps restricts the kinds
    MAP_KEY = "map_key"  # key_size readable bytes of the map argument before it
    MAP_VALUE = "map_value"  # value_size readable bytes of the map argument before it
    MAP_VALUE_OR_NULL = "map_value_or_null"
    MAP_VALUE_OUT = "map_value_out"  # value_size writable bytes, may be uninitialised
    MEMORY = "memory"  # readable bytes; their count is the next argument, or Arg.size
    MEMORY_OR_NULL = "memory_or_null"
    MEMORY_INOUT = "memory_inout"  # initialised bytes that the call changes; count as above
    MEMORY_OUT = "memory_out"  # writable bytes, may be uninitialised before; count as above
    MEMORY_OUT_OR_NULL = "memory_out_or_null"
    SIZE = "size"  # byte count of the memory before it, at least 1
    SIZE_OR_ZERO = "size_or_zero"
    ALLOC_SIZE = "alloc_size"  # constant byte count of what the helper returns
    STRING = "string"  # constant NUL-terminated text in read-only memory
    CALLBACK = "callback"  # a static subprogram; Helper.callback says how it is called
    CALLBACK_CONTEXT = "callback_context"  # what the callback gets as its context: a stack pointer or NULL
    RECORD = "record"  # a ring-buffer reservation, released by this call
    SPIN_LOCK = "spin_lock"  # a struct bpf_spin_lock in a map value
    TIMER = "timer"  # a struct bpf_timer in a map value
    SOCKET = "socket"  # a socket pointer, not NULL
    SOCKET_OR_NULL = "socket_or_null"
    SOCKET_RELEASED = "socket_released"  # a socket pointer acquired before, released by this call
    KERNEL = "kernel"  # a pointer to a kernel structure, known from BTF
    KERNEL_OR_NULL = "kernel_or_null"
    DYNPTR = "dynptr"  # an initialised struct bpf_dynptr on the stack
    DYNPTR_OUT = "dynptr_out"  # a struct bpf_dynptr on the stack, to be initialised
    PERCPU = "percpu"  # a pointer to a per-CPU kernel variable
    KPTR = "kptr"  # a pointer to a kernel-pointer field of a map value


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a helper. ``size`` fixes the bytes of a memory argument; ``maps`` the kinds of a map argument."""

    kind: ArgKind
    size: int = 0
    maps: frozenset[MapKind] = frozenset()
    name: str = ""


class ReturnKind(enum.Enum):
    """What a helper leaves in r0."""

    SCALAR = "scalar"
    VOID = "void"
    MAP_VALUE_OR_NULL = "map_value_or_null"  # of the map argument (an inner map's reference for maps of maps)
    RECORD_OR_NULL = "record_or_null"  # writable memory of ALLOC_SIZE bytes that must be released
    MEMORY_OR_NULL = "memory_or_null"  # memory of ALLOC_SIZE bytes (or Helper.returns_size), nothing to release
    SOCKET_OR_NULL = "socket_or_null"
    KERNEL_OR_NULL = "kernel_or_null"
    KERNEL = "kernel"
    NO_RETURN_ON_SUCCESS = "no_return_on_success"  # tail call: returns only a (negative) number, on failure
    MAP_VALUE = "map_value"


class Callback(enum.Enum):
    """What the callback argument of a helper is called with; the value lists its parameters."""

    LOOP = ("index", "context")  # bpf_loop: u32 index
    FOR_EACH_MAP_ELEMENT = ("map", "map_key", "map_value", "context")
    TIMER = ("map", "map_key", "map_value")
    FIND_VMA = ("kernel", "kernel", "context")
    USER_RINGBUF = ("dynptr", "context")


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper function as programs see it.

    :param id: the number in the call instruction. :param name: with its ``bpf_`` prefix.
    :param prototype: the C declaration that the headers give, for instance ``"long (struct xdp_md *ctx, int delta)"``.
    :param returns_range: known bounds of a scalar return, inclusive, or None.
    :param returns_up_to: name of the size argument that a scalar return does not exceed; it may also be an error,
        -4095 at least. "" when there is none.
    :param structure: name in Platform.structures of what a returned socket pointer points to.
    :param packet_access: its memory, key and value arguments may lie in the packet.
    :param changes_packet: packet pointers taken before the call are invalid after it.
    :param acquires: the returned pointer must be released (socket lookups, ring-buffer reservations).
    :param gpl_only: callable only from programs with a GPL-compatible licence (Linux).
    :param callback: how the CALLBACK argument is called.
    :param implementation: the engine's name of what it does, where helpers called ``name`` do different things.
    :param address: of the C function, where it is not the engine's; :param owner: keeps that function in memory.
    """

    id: int
    name: str
    args: tuple[Arg, ...] = ()
    returns: ReturnKind = ReturnKind.SCALAR
    prototype: str = ""
    returns_range: tuple[int, int] | None = None
    returns_up_to: str = ""
    returns_size: int = 0
    structure: str = ""
    packet_access: bool = False
    changes_packet: bool = False
    acquires: bool = False
    gpl_only: bool = False
    callback: Callback | None = None
    implementation: str = ""
    address: int = 0
    owner: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Section:
    """Which ELF sections mean a program type.

    :param name: a section name, or its part before "/" or "+"; :param exact: nothing may follow it.
    :param attach_type: the platform's name of the attach type, or "".
    :param prefix: anything may follow it, as in objects older than libbpf 1.0 (``xdp_prog``, ``socket1``).
    """

    name: str
    attach_type: str = ""
    exact: bool = False
    sleepable: bool = False
    prefix: bool = False

    def matches(self, section: str) -> bool:
        """Whether the ELF section called ``section`` is meant."""
        if section == self.name:
            return True
        if self.exact or not section.startswith(self.name):
            return False
        return self.prefix or section[len(self.name)] in "/+"


@dataclass(frozen=True, slots=True)
class ProgramType:
    """A kind of program.

    :param number: the platform's enum value. :param helpers: names of the helpers it may call.
    :param sleepable_helpers: what programs in sections that may sleep may call besides.
    :param returns: inclusive bounds that r0 must have at exit, or None when any number will do.
    :param actions: names of return values, for tables and reports.
    :param passes: return values after which the packet goes on its way; 63 stands for itself and every larger number.
    :param packet: whether the context's data is a packet that grows, shrinks and is written ("direct packet access").
    :param packet_writable: programs may store to the packet.
    :param legacy_packet: LD_ABS and LD_IND are allowed.
    :param own_helpers: helpers whose numbers mean something else to other program types (Windows' 0x10000 and up).
    :param attach_type: which attach type this value is narrowed to, or "".
    :param attach_rules: attach type → what differs under it.
    :param chain: what several programs of this type at one hook come to.
    """

    name: str
    number: int
    context: Context
    sections: tuple[Section, ...] = ()
    helpers: frozenset[str] = field(default=frozenset(), repr=False)
    sleepable_helpers: frozenset[str] = field(default=frozenset(), repr=False)
    returns: tuple[int, int] | None = None
    actions: Mapping[int, str] = field(default_factory=dict, hash=False)
    passes: frozenset[int] = frozenset()
    attach_types: Mapping[str, int] = field(default_factory=dict, hash=False)
    packet_writable: bool = False
    legacy_packet: bool = False
    own_helpers: Mapping[int, Helper] = field(default_factory=dict, hash=False, repr=False)
    attach_type: str = ""
    attach_rules: Mapping[str, AttachRule] = field(default_factory=dict, hash=False, repr=False)
    chain: ChainRule = field(default=ChainRule(), repr=False)

    def for_section(self, section: Section) -> ProgramType:
        """Return this type narrowed to what programs in ``section`` may do."""
        narrowed = self.for_attach_type(section.attach_type)
        return replace(narrowed, helpers=narrowed.helpers | self.sleepable_helpers) if section.sleepable else narrowed

    def for_attach_type(self, attach_type: str) -> ProgramType:
        """Return this type narrowed to ``attach_type``: its fields, helpers, return range; PlatformError if unknown."""
        if attach_type == self.attach_type:
            return self
        if attach_type not in self.attach_types:
            known = ", ".join(self.attach_types) or "none"
            raise PlatformError(f"program type {self.name} has no attach type {attach_type!r}; it has {known}")
        rule = self.attach_rules.get(attach_type, AttachRule())
        return replace(
            self,
            attach_type=attach_type,
            context=self.context.for_attach_type(attach_type),
            helpers=(self.helpers | rule.more_helpers) - rule.fewer_helpers,
            returns=self.returns if rule.returns is None else rule.returns,
            chain=self.chain if rule.chain is None else rule.chain,
        )


@dataclass(frozen=True)
class Platform:
    """Everything that one platform promises to programs.

    :param map_types: map-type number in object files → kind.
    :param program_types: in order of preference when sections compete (the longest match wins first).
    :param map_rules: kind → what a map of it may look like.
    :param structures: structures other than contexts that helpers and fields give pointers to, by name.
    :param default_type: name of the program type of sections that name no other.
    :param guesses: names of the types that such a program may turn out to have, judged by what it does, in this order.
    """

    name: str
    program_types: tuple[ProgramType, ...]
    helpers: Mapping[int, Helper] = field(hash=False, repr=False)
    map_types: Mapping[int, MapKind] = field(hash=False, repr=False)
    map_rules: Mapping[MapKind, MapRules] = field(default_factory=dict, hash=False, repr=False)
    structures: Mapping[str, Context] = field(default_factory=dict, hash=False, repr=False)
    default_type: str = ""
    guesses: tuple[str, ...] = ()

    def find_helper(self, number: int, program_type: ProgramType) -> Helper | None:
        """Return what helper ``number`` means to ``program_type``, or None when it means nothing.

        Whether the type may call it is another question: ``helper.name in program_type.helpers``.
        """
        return program_type.own_helpers.get(number) or self.helpers.get(number)

    def map_problem(self, spec: MapSpec) -> str | None:
        """Return why no map can be made of ``spec``, and what would do, in one sentence; None when one can."""
        kind = self.map_types.get(spec.type)
        if kind is None:
            return f"map {spec.name!r} has type {spec.type}, which {self.name} does not know"
        ruled = kind in self.map_rules and not spec.is_data  # the loader makes the maps of data sections
        problem = self.map_rules[kind].problem(spec) if ruled else None
        return problem and f"{kind.value} map {spec.name!r}: {problem}"

    def helpers_of(self, program_type: ProgramType) -> Mapping[int, Helper]:
        """Return what every helper number means to ``program_type``; see :meth:`find_helper`."""
        return {**self.helpers, **program_type.own_helpers}

    def program_type(self, name: str) -> ProgramType:
        """Return the program type called ``name``; PlatformError lists the names there are."""
        for candidate in self.program_types:
            if candidate.name == name:
                return candidate
        known = ", ".join(t.name for t in self.program_types)
        raise PlatformError(f"platform {self.name} has no program type {name!r}; it has {known}")
