"""Every error that anybpf raises, as one tree.

::

    AnyBpfError
    ├── InstructionError        bytes that are not a valid eBPF program
    ├── AssemblyError           text that is not eBPF assembly
    ├── ObjectError             a file that is not a usable BPF object
    │   └── BtfError            type information that is malformed, or a CO-RE relocation that has no answer
    ├── CompileError            clang is missing, or refused the source
    ├── PlatformError           a program type, helper or map type that the platform does not have
    ├── VerificationError       the verifier refused a program; carries its Failure
    ├── LoadError               a verified program that this machine cannot run (a helper not offered, no memory)
    ├── MapError                a map operation failed; carries a Linux errno
    ├── EventError              input that no event of the program's type can be made of
    ├── ProgramFault            a checked run stopped at a bad access
    ├── HookError               an event source that cannot be opened or read
    └── UnsupportedError        what this operating system, or this build, does not have
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anybpf.spec import SourceLine

__all__ = (
    "AnyBpfError",
    "AssemblyError",
    "BtfError",
    "CompileError",
    "EventError",
    "HookError",
    "InstructionError",
    "LoadError",
    "MapError",
    "ObjectError",
    "PlatformError",
    "ProgramFault",
    "UnsupportedError",
    "VerificationError",
)


#: Names of the Linux error numbers that maps and helpers return and calls fail with, on every operating system.
LINUX_ERRNO = {
    1: "EPERM", 2: "ENOENT", 7: "E2BIG", 9: "EBADF", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 14: "EFAULT",
    16: "EBUSY", 17: "EEXIST", 22: "EINVAL", 24: "EMFILE", 28: "ENOSPC", 34: "ERANGE", 75: "EOVERFLOW",
    90: "EMSGSIZE", 95: "EOPNOTSUPP", 97: "EAFNOSUPPORT", 98: "EADDRINUSE", 99: "EADDRNOTAVAIL", 100: "ENETDOWN",
    101: "ENETUNREACH", 103: "ECONNABORTED", 104: "ECONNRESET", 110: "ETIMEDOUT", 111: "ECONNREFUSED",
    113: "EHOSTUNREACH", 524: "ENOTSUPP",
}  # fmt: skip


class AnyBpfError(Exception):
    """Root of every error that anybpf raises on purpose."""


class InstructionError(AnyBpfError):
    """Bytes that are no valid eBPF program (RFC 9669).

    :param reason: what is wrong, in one phrase.
    :param index: the slot (8-byte unit) of the offending instruction, or None when the whole text is at fault.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        self.reason = reason
        self.index = index
        super().__init__(reason if index is None else f"instruction {index}: {reason}")


class AssemblyError(AnyBpfError):
    """Text that is not eBPF assembly.

    :param reason: what is wrong, in one phrase.
    :param line: 1-based line of the source text.
    :param text: that line.
    """

    def __init__(self, reason: str, line: int, text: str) -> None:
        self.reason = reason
        self.line = line
        self.text = text
        super().__init__(f"line {line}: {reason}: {text.strip()!r}")


class ObjectError(AnyBpfError):
    """A file that is not a usable BPF object.

    :param reason: what is wrong and, where there is a remedy, what to do.
    :param file: the file's name.
    :param section: the section in which the problem was found.
    :param instruction: the slot within that section.
    """

    def __init__(
        self, reason: str, *, file: str | None = None, section: str | None = None, instruction: int | None = None
    ) -> None:
        self.reason = reason
        self.file = file
        self.section = section
        self.instruction = instruction
        where = [w for w in (file, section and f"section {section!r}") if w]
        if instruction is not None:
            where.append(f"instruction {instruction}")
        super().__init__(f"{', '.join(where)}: {reason}" if where else reason)


class BtfError(ObjectError):
    """Malformed type information, or a CO-RE relocation without an answer in the target's types."""


class CompileError(AnyBpfError):
    """clang is missing, or refused the source; the message holds clang's own diagnostics."""


class PlatformError(AnyBpfError):
    """A program type, section, helper or map type that the chosen platform does not have."""


class VerificationError(AnyBpfError):
    """The verifier refused a program.

    :param failure: the structured :class:`anybpf.verifier.Failure`; its ``render()`` is the message.
    """

    def __init__(self, message: str, failure: object) -> None:
        self.failure = failure
        super().__init__(message)


class LoadError(AnyBpfError):
    """A program that is well formed, and perhaps verified, but cannot be loaded in this execution context."""


class MapError(AnyBpfError):
    """A map operation failed.

    :param code: a positive Linux error number (the same on every operating system), for example 7 for E2BIG.
    :param what: the operation and map, for the message.
    """

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        self.name = LINUX_ERRNO.get(code, str(code))
        super().__init__(f"{what}: {self.name}")


class ProgramFault(AnyBpfError):
    """A checked run stopped at an access that the program may not make; the process and its maps are intact.

    :param reason: what the program tried, in one phrase.
    :param program: the program's name.
    :param instruction: the slot at which it stopped.
    :param address: the address it tried to use, or None.
    :param region: the region nearest to that address ("stack", "packet", "map counts", "nothing" …).
    :param source: the source line of the instruction, where the object has line information.
    """

    def __init__(
        self,
        reason: str,
        *,
        program: str,
        instruction: int,
        address: int | None = None,
        region: str | None = None,
        source: SourceLine | None = None,
    ) -> None:
        self.reason = reason
        self.program = program
        self.instruction = instruction
        self.address = address
        self.region = region
        self.source = source
        text = f"program {program!r} stopped at instruction {instruction}: {reason}"
        if address is not None:
            text += f" at address {address:#x}"
        if region is not None:
            text += f" ({region})"
        if source is not None:
            text += f"\n  {source.file}:{source.line}: {source.text.strip()}"
        super().__init__(text)


class EventError(AnyBpfError):
    """Input that no event can be made of: a context of the wrong size, metadata that the packet does not hold."""


class HookError(AnyBpfError):
    """An event source that cannot be opened or read: a capture that is no capture, an interface that is not there."""


class UnsupportedError(AnyBpfError):
    """What this operating system, or this build of anybpf, does not have. Tests skip on this error and no other."""
