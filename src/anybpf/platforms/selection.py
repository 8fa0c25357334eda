"""Which platform an object is for, and which program type a program has."""

from __future__ import annotations

from anybpf.errors import PlatformError
from anybpf.platforms.inference import infer
from anybpf.platforms.linux import linux
from anybpf.platforms.model import Platform, ProgramType
from anybpf.platforms.raw import raw
from anybpf.platforms.windows import windows
from anybpf.spec import ObjectSpec, ProgramSpec

__all__ = ("by_name", "program_type_for", "recognise")

_PLATFORMS = {platform.name: platform for platform in (linux, windows, raw)}


def by_name(name: str) -> Platform:
    """Return the built-in platform called ``name``; PlatformError lists the names there are."""
    try:
        return _PLATFORMS[name]
    except KeyError:
        raise PlatformError(f"no platform {name!r}; there are {', '.join(_PLATFORMS)}") from None


def recognise(spec: ObjectSpec) -> Platform:
    """Return the platform that ``spec`` was compiled for.

    The BTF name of a program's context decides (``xdp_md_t`` is Windows, ``xdp_md`` Linux); without one, a section that
    only Windows has (``bind``, ``cgroup/recv_accept4``); otherwise it is Linux.
    """
    contexts = {program.context_type for program in spec.programs}
    if contexts & _context_names(linux):
        return linux
    if contexts & _context_names(windows):
        return windows
    for program in spec.programs:
        if _by_section(windows, program.section) and not _by_section(linux, program.section):
            return windows
    return linux


def _context_names(platform: Platform) -> frozenset[str]:
    return frozenset(t.context.name for t in platform.program_types if t.context.name)


def program_type_for(
    platform: Platform, program: ProgramSpec, type_name: str | None = None, *, spec: ObjectSpec | None = None
) -> ProgramType:
    """Return the type of ``program`` on ``platform``, narrowed to its section's attach type.

    The section decides; else the BTF name of the context; else what the program does, together with its neighbours in
    ``spec`` that are as nameless as it is, since such programs tail-call one another
    (:mod:`anybpf.platforms.inference`); else it has the platform's default type, which promises what all types have.

    :param type_name: a program type's name or any section name, when the caller knows better than the section.
    :raises PlatformError: the platform has no such ``type_name``.
    """
    if type_name is not None:
        named = _by_name(platform, program, type_name) or _by_section(platform, type_name)
        if named is None:
            known = ", ".join(t.name for t in platform.program_types)
            raise PlatformError(f"{platform.name} has no program type or section {type_name!r}; types are {known}")
        return named
    known_type = _declared(platform, program)
    if known_type is not None:
        return known_type
    neighbours = [p for p in spec.programs if _declared(platform, p) is None] if spec is not None else []
    return (
        infer(platform, neighbours or [program])
        or infer(platform, [program])
        or platform.program_type(platform.default_type)
    )


def _declared(platform: Platform, program: ProgramSpec) -> ProgramType | None:
    """Return the type that the program's section or its context's name states."""
    return _by_section(platform, program.section) or _by_context(platform, program.context_type)


def _by_name(platform: Platform, program: ProgramSpec, type_name: str) -> ProgramType | None:
    """Return the type called ``type_name``; the program's section may still narrow it to an attach type."""
    by_section = _by_section(platform, program.section)
    if by_section is not None and by_section.name == type_name:
        return by_section
    return next((t for t in platform.program_types if t.name == type_name), None)


def _by_section(platform: Platform, section: str) -> ProgramType | None:
    """Return the type whose longest section matches, the first in the platform's order among equals."""
    candidates = [(s, t) for t in platform.program_types for s in t.sections if s.matches(section)]
    if not candidates:
        return None
    best, program_type = max(candidates, key=lambda pair: len(pair[0].name))
    return program_type.for_section(best)


def _by_context(platform: Platform, context_type: str) -> ProgramType | None:
    """Return the first type whose context has the BTF name ``context_type``."""
    if not context_type:
        return None
    return next((t for t in platform.program_types if t.context.name == context_type), None)
