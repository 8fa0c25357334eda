"""``python -m anybpf.conformance``: the plugin by which the public BPF conformance runner tries an implementation.

::

    python -m anybpf.conformance [MEMORY] [--interpreter | --checked | --jit] < PROGRAM

MEMORY is the initial memory in hex (r1 points to it, r2 is its length; absent: both are zero), PROGRAM the instructions
in hex. Prints r0 in hex and exits with 0; a program that cannot run gives one line on standard error and exit status 1,
wrong usage 2. Programs are run as they are, without verification; so the default is the checked interpreter, in which a
bad access is a message and not the end of the process.
"""

from __future__ import annotations

import sys

from anybpf.errors import AnyBpfError
from anybpf.runtime import bare

__all__ = ("HELPERS", "main")

#: What the cases may call: number 5, by which uBPF lets a program end (when it returns 0) or go on.
HELPERS = {5: lambda a1, a2, a3, a4, a5: a1}


def main(arguments: list[str]) -> int:
    """Run the command with ``arguments``; return its exit status."""
    modes = [a.removeprefix("--") for a in arguments if a.startswith("--")]
    memories = [a for a in arguments if not a.startswith("--")]
    try:
        if len(modes) > 1 or not set(modes) <= set(bare.MODES):
            raise ValueError("give at most one of --interpreter, --checked, --jit")
        if len(memories) > 1:
            raise ValueError("give at most one memory")
        memory = bytes.fromhex("".join(memories))
        code = bytes.fromhex(sys.stdin.read())
    except ValueError as error:
        print(f"anybpf.conformance: {error}", file=sys.stderr)
        return 2
    try:
        print(f"{bare.run(code, memory, modes[0] if modes else 'checked', HELPERS):x}")
    except AnyBpfError as error:
        print(f"anybpf.conformance: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
