"""Which platform an object is for, and which program type a program has."""

from __future__ import annotations

from anybpf.errors import PlatformError
from anybpf.platforms.linux import linux
from anybpf.platforms.model import Platform, ProgramType
from anybpf.platforms.raw import raw
from anybpf.spec import ObjectSpec, ProgramSpec

__all__ = ("by_name", "program_type_for", "recognise")

_PLATFORMS = {platform.name: platform for platform in (linux, raw)}


def by_name(name: str) -> Platform:
    """Return the built-in platform called ``name``; PlatformError lists the names there are."""
    try:
        return _PLATFORMS[name]
    except KeyError:
        raise PlatformError(f"no platform {name!r}; there are {', '.join(_PLATFORMS)}") from None


def recognise(spec: ObjectSpec) -> Platform:
    """Return the platform that ``spec`` was compiled for."""
    return linux


def program_type_for(platform: Platform, program: ProgramSpec, type_name: str | None = None) -> ProgramType:
    """Return the type of ``program`` on ``platform``, narrowed to its section's attach type.

    :param type_name: a program type's name or any section name, when the caller knows better than the section.
    :raises PlatformError: nothing fits.
    """
    if type_name is not None:
        named = _by_name(platform, program, type_name) or _by_section(platform, type_name)
        if named is None:
            known = ", ".join(t.name for t in platform.program_types)
            raise PlatformError(f"{platform.name} has no program type or section {type_name!r}; types are {known}")
        return named
    found = _by_section(platform, program.section) or _by_context(platform, program.context_type)
    if found is None and platform.default_type:
        found = platform.program_type(platform.default_type)
    if found is None:
        raise PlatformError(
            f"section {program.section!r} of program {program.name!r} names no program type of {platform.name}; "
            f"say which it is, for instance with --type xdp"
        )
    return found


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
