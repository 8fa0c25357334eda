"""Objects: from a file to maps and programs that are ready to run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from types import MappingProxyType
from typing import Self

from anybpf import btf, elf
from anybpf.btf import Btf
from anybpf.btf.core import relocate
from anybpf.errors import LoadError, VerificationError
from anybpf.isa import decode
from anybpf.platforms import (
    Helper,
    MapKind,
    Platform,
    ProgramType,
    ReturnKind,
    by_name,
    program_type_for,
    recognise,
    with_helpers_by_name,
)
from anybpf.runtime import binding
from anybpf.runtime.context import Context, default_context
from anybpf.runtime.kconfig import with_kconfig
from anybpf.runtime.lowering import Lowered, kernel_pointers, lower
from anybpf.runtime.maps import Map
from anybpf.runtime.native import NativeProgram
from anybpf.runtime.program import Mode, Program, require_mode
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec
from anybpf.verifier import BUDGET, Verdict, render, verify_program

__all__ = ("Object", "load")

#: A checked run of a program that nobody verified stops after so many instructions: it may loop for ever.
INSTRUCTION_LIMIT = 10_000_000

_PIN_BY_NAME = 1
#: Sizes of keys and values of kinds whose declared types say only what records look like.
_FIXED_SIZES = {MapKind.RINGBUF: (0, 0), MapKind.PERF_EVENT_ARRAY: (4, 4)}
_MAPS_OF_MAPS = (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS)


class Object:
    """What was loaded from one object: its maps and programs, by name. A context manager; leaving it closes them.

    :param spec: what the file says, with CO-RE relocations and kernel configuration filled in.
    """

    def __init__(
        self,
        spec: ObjectSpec,
        platform: Platform,
        context: Context,
        maps: dict[str, Map],
        programs: dict[str, Program],
        given: frozenset[int],
    ) -> None:
        self.spec = spec
        self.platform = platform
        self.context = context
        self.maps: Mapping[str, Map] = MappingProxyType(maps)
        self.programs: Mapping[str, Program] = MappingProxyType(programs)
        self._given = given
        for program in programs.values():
            program.owner = self

    def close(self) -> None:
        """Close the programs, then the maps that are neither pinned nor the caller's. Further calls do nothing."""
        for program in self.programs.values():
            program.close()
        pinned = set(map(id, self.context.pins.values()))
        for opened in self.maps.values():
            if id(opened) not in pinned and opened.id not in self._given:
                opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Object {self.spec.name!r}: {len(self.programs)} programs, {len(self.maps)} maps>"


def load(
    source: str | PathLike[str] | bytes | ObjectSpec,
    *,
    platform: str | Platform | None = None,
    program: str | None = None,
    type_name: str | None = None,
    trust: bool = False,
    unverified: bool = False,
    mode: Mode = None,
    context: Context | None = None,
    target_btf: str | PathLike[str] | bytes | Btf | None = None,
    kconfig: Mapping[str, int | str] | None = None,
    maps: Mapping[str, Map] | None = None,
    budget: int | None = None,
) -> Object:
    """Load an object: verify its programs, create its maps, and make everything ready to run.

    :param source: path of an object file, its bytes, or what :func:`anybpf.open` returned.
    :param platform: whose rules hold; found out from the object when not given.
    :param program: load only the program of this name (KeyError when there is none); by default all.
    :param type_name: program type, or a section name that means one, for programs whose own section does not say.
    :param trust: run without verification, at full speed, with a warning. A wrong program can ruin the process.
    :param unverified: run without verification in the checked interpreter only, which stops at the first bad access.
    :param mode: how the programs run when a call does not say: "jit" (compiled before this function returns),
        "interpreter", "checked", or None for automatic.
    :param context: the execution context; by default the one of the process.
    :param target_btf: types that CO-RE relocations are resolved against; by default the object's own.
    :param kconfig: values for externs of ``.kconfig``, by name.
    :param maps: maps to use instead of creating the object's own of those names.
    :param budget: instructions that the verifier may step through, for all programs together; None: its usual budget
        for each.
    :raises VerificationError: the verifier refused a program.
    :raises LoadError: this engine cannot run the object (the message names the helper or map kind that is missing).
    :raises ObjectError: the file is not a usable object. :raises PlatformError: the program type cannot be found out.
    """
    if trust and unverified:
        raise LoadError("trust and unverified exclude each other: trusted programs run unchecked")
    require_mode(mode)
    if trust:
        warnings.warn("running programs without verification: they can read and write any memory", stacklevel=2)
    spec = with_kconfig(_relocated(_specification(source), target_btf), kconfig or {})
    rules = by_name(platform) if isinstance(platform, str) else platform or recognise(spec)
    types = {p.name: program_type_for(rules, p, type_name, spec=spec) for p in _chosen(spec, program)}
    verdicts = {} if trust or unverified else _verified(spec, rules, types, budget)
    loader = _Loader(spec, rules, context or default_context(), trust, mode)
    with loader.undone_on_error():
        loader.create_maps(maps or {})
        for name, program_type in types.items():
            loader.create_program(spec[name], program_type, verdicts.get(name))
        loader.fill_maps()
        if mode == "jit":
            for loaded in loader.programs.values():
                loaded.compile()
    given = frozenset(m.id for m in (maps or {}).values())
    return Object(spec, rules, loader.context, loader.maps, loader.programs, given)


def _specification(source: str | PathLike[str] | bytes | ObjectSpec) -> ObjectSpec:
    if isinstance(source, ObjectSpec):
        return source
    return elf.parse(source, "object") if isinstance(source, bytes) else elf.open(source)


def _relocated(spec: ObjectSpec, target: str | PathLike[str] | bytes | Btf | None) -> ObjectSpec:
    """Return ``spec`` with CO-RE relocations applied."""
    if spec.btf is None or not any(p.core for p in spec.programs):
        return spec
    local = btf.load(spec.btf)
    match target:
        case None:
            types = local
        case Btf():
            types = target
        case bytes():
            types = btf.load(target)
        case _:
            types = btf.open(target)
    return replace(spec, programs=tuple(relocate(p, local, types) for p in spec.programs))


def _chosen(spec: ObjectSpec, name: str | None) -> tuple[ProgramSpec, ...]:
    """Return the programs to load: the named one, else all that are programs by themselves."""
    if name is not None:
        return (spec[name],)
    return spec.entries


def _verified(
    spec: ObjectSpec, platform: Platform, types: Mapping[str, ProgramType], budget: int | None
) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}
    for name, program_type in types.items():
        left = BUDGET if budget is None else max(0, budget - sum(v.visited for v in verdicts.values()))
        verdict = verify_program(spec, spec[name], platform, program_type, budget=left)
        if verdict.failure is not None:
            raise VerificationError(f"program {name!r} was refused\n{render(verdict.failure)}", verdict.failure)
        verdicts[name] = verdict
    return verdicts


class _Loader:
    """The steps of loading, and what they have made so far."""

    def __init__(self, spec: ObjectSpec, platform: Platform, context: Context, trusted: bool, mode: Mode) -> None:
        self.spec = spec
        self.platform = platform
        self.context = context
        self.trusted = trusted
        self.mode = mode
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self._made: list[Map] = []
        self._pinned: list[str] = []

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Close what was made when the block fails, so that nothing is left half loaded."""
        try:
            yield
        except BaseException:
            for program in self.programs.values():
                program.close()
            for name in self._pinned:
                self.context.pins.pop(name, None)
            for made in self._made:
                made.close()
            raise

    def create_maps(self, given: Mapping[str, Map]) -> None:
        """Create the object's maps, or take those of the same names that are given or pinned."""
        if unknown := given.keys() - {declared.name for declared in self.spec.maps}:
            known = ", ".join(declared.name for declared in self.spec.maps) or "none"
            raise LoadError(f"maps were given for {_listed(unknown)}, which the object does not have; it has {known}")
        for declared in self.spec.maps:
            name = declared.name
            if name in given:
                self.maps[name] = self._given(given[name], declared)
            elif declared.pinning == _PIN_BY_NAME and name in self.context.pins:
                self.maps[name] = self._compatible(self.context.pins[name], declared)
            else:
                created = self._create(declared)
                self.maps[name] = created
                if declared.pinning == _PIN_BY_NAME:
                    self.context.pins[name] = created
                    self._pinned.append(name)

    def _kind(self, declared: MapSpec) -> MapKind:
        kind = self.platform.map_types.get(declared.type)
        if kind is None:
            raise LoadError(f"map {declared.name!r}: {self.platform.name} has no map type {declared.type}")
        if binding.map_kind_number(kind) is None:
            raise LoadError(f"map {declared.name!r} is a {kind.value}, which this engine does not offer")
        return kind

    def _create(self, declared: MapSpec) -> Map:
        kind, inner = self._kind(declared), self._kind(declared.inner) if declared.inner is not None else None
        types = None if self.spec.btf is None else btf.load(self.spec.btf)
        if kind in _FIXED_SIZES:
            declared = replace(declared, key_size=_FIXED_SIZES[kind][0], value_size=_FIXED_SIZES[kind][1])
        created = Map(self.context.engine, declared, kind, btf=types, inner_kind=inner)
        self._made.append(created)
        self.context.maps[created.id] = created
        return created

    def _given(self, found: Map, declared: MapSpec) -> Map:
        if declared.read_only:
            raise LoadError(
                f"no map can be given for {declared.name!r}: the verifier relies on what the object puts there"
            )
        return self._compatible(found, declared)

    def _compatible(self, found: Map, declared: MapSpec) -> Map:
        wanted = (self._kind(declared), declared.key_size, declared.value_size, declared.max_entries)
        has = (found.kind, found.spec.key_size, found.spec.value_size, found.spec.max_entries)
        if has != wanted:
            raise LoadError(
                f"map {declared.name!r} exists as {_shape(*has)}, but this object declares {_shape(*wanted)}; "
                "remove the pinned map or load into another context"
            )
        return found

    def create_program(self, spec: ProgramSpec, program_type: ProgramType, verdict: Verdict | None) -> None:
        """Lower a program and give it to the engine."""
        maps = tuple(self.maps.values())
        spec = with_helpers_by_name(spec, self.spec, self.platform)
        facts = verdict.facts if verdict is not None else None
        text = decode(spec.code, indirect_calls=verdict is None)
        lowered = lower(
            text,
            spec.code,
            program_type.context,
            facts=facts,
            trusted=self.trusted,
            helper_names={number: helper.name for number, helper in self.platform.helpers_of(program_type).items()},
            map_kinds=tuple(m.kind for m in maps),
            externs=tuple(e.name for e in self.spec.externs),
        )
        helpers = self._helpers(spec.name, program_type, lowered)
        addresses = {number: binding.helper_address(helper) for number, helper in helpers.items()}
        self._require_offered(spec.name, helpers, addresses)
        checked_only = not self.trusted and (facts is None or kernel_pointers(text, program_type.context, facts))
        handles = [m.native.handle for m in maps]
        handle = binding.create_program(
            self.context.engine,
            spec.name,
            lowered,
            program_type,
            helpers,
            addresses,
            handles,
            checked_only=checked_only,
            instruction_limit=INSTRUCTION_LIMIT if facts is None and not self.trusted else 0,
        )
        tail_call = next((n for n, h in helpers.items() if h.returns is ReturnKind.NO_RETURN_ON_SUCCESS), None)
        owners = tuple(helper.owner for helper in helpers.values() if helper.owner is not None)
        native = NativeProgram(self.context, handle, lowered, addresses, handles, tail_call, owners)
        self.programs[spec.name] = Program(
            self.context, native, spec, self.platform, program_type, verdict, self.mode, checked_only
        )

    def _helpers(self, name: str, program_type: ProgramType, lowered: Lowered) -> dict[int, Helper]:
        known = self.platform.helpers_of(program_type)
        unknown = [number for number in lowered.helpers if number not in known]
        if unknown:
            raise LoadError(f"program {name!r} calls helper {unknown[0]}, which {self.platform.name} does not have")
        return {number: known[number] for number in lowered.helpers}

    def _require_offered(self, name: str, helpers: Mapping[int, Helper], addresses: Mapping[int, int]) -> None:
        missing = [
            helper.name
            for number, helper in helpers.items()
            if not addresses[number] and helper.returns is not ReturnKind.NO_RETURN_ON_SUCCESS
        ]
        if missing:
            raise LoadError(f"program {name!r} calls {_listed(missing)}, which this engine does not offer")

    def fill_maps(self) -> None:
        """Give prog arrays and maps of maps their declared members, and data maps their contents."""
        for declared in self.spec.maps:
            filled = self.maps[declared.name]
            for key, member in declared.values:
                if self._kind(declared) in _MAPS_OF_MAPS:
                    filled[key] = self.maps[member]
                elif member in self.programs:
                    filled[key] = self.programs[member]


def _shape(kind: MapKind, key: int, value: int, entries: int) -> str:
    return f"{kind.value} with keys of {key}, values of {value} bytes and {entries} entries"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))
