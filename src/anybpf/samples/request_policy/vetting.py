"""Verifying uploads in a process of its own, ``python -m anybpf.samples.request_policy.vetting``.

Verifying is work in Python. In a thread it would slow every request down; a process leaves the event loop alone, is
killed when it takes too long, and takes nothing with it.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from anybpf.errors import AnyBpfError, ObjectError, VerificationError
from anybpf.runtime import Context
from anybpf.samples.request_policy.hook import LIMITS, declare

__all__ = ("Refusal", "Vetter")

#: Seconds that a process may take for an upload, its own start included.
PATIENCE = 30
#: Bytes of an answer, which holds the path that leads to a failure.
LONGEST_ANSWER = 1 << 22

_LENGTH = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload is not taken.

    :param status: of the response: 400 for what is no object, 422 for one that may not run here.
    :param reason: in words. :param failure: of a program that the verifier refused: code, instruction, source line,
        path and suggestion.
    """

    status: int
    reason: str
    failure: dict[str, Any] | None = None


class Vetter:
    """The process that verifies uploads, one after the other; started when there is something to verify."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def vet(self, upload: bytes) -> Refusal | None:
        """Return why ``upload`` is not to be loaded, or None when it may be."""
        async with self._turn:
            try:
                return await asyncio.wait_for(self._ask(upload), PATIENCE)
            except TimeoutError:
                await self._end()
                return Refusal(422, f"verifying the object took longer than {PATIENCE} seconds")
            except (EOFError, ConnectionError):
                await self._end()
                return Refusal(422, "the process that verified the object died of it")
            except asyncio.CancelledError:
                await self._end()  # its answer would be taken for the next one's
                raise

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ask(self, upload: bytes) -> Refusal | None:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __name__), stdin=PIPE, stdout=PIPE, limit=LONGEST_ANSWER
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(_LENGTH.pack(len(upload)) + upload)
        await stdin.drain()
        if not (line := await stdout.readline()).endswith(b"\n"):
            raise EOFError
        found = json.loads(line)
        return None if found is None else Refusal(**found)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def refusal_of(upload: bytes) -> Refusal | None:
    """Load ``upload`` as the service would, and return what it is refused for."""
    try:
        with Context(1) as context, declare(context).load(upload, limits=LIMITS, mode="interpreter") as loaded:
            if len(loaded.programs) != 1:
                return Refusal(422, f"the object has {len(loaded.programs)} programs; a policy is one")
    except VerificationError as error:
        return Refusal(422, str(error), asdict(error.failure))  # type: ignore[call-overload]  # it is a dataclass
    except ObjectError as error:
        return Refusal(400, f"this is no object that can be used: {error}")
    except AnyBpfError as error:
        return Refusal(422, str(error))
    return None


def serve() -> None:
    """Answer each upload on standard input, which its length precedes, with a line on standard output."""
    uploads = sys.stdin.buffer
    while len(head := uploads.read(_LENGTH.size)) == _LENGTH.size:
        refused = refusal_of(uploads.read(_LENGTH.unpack(head)[0]))
        print(json.dumps(None if refused is None else asdict(refused), default=dict), flush=True)


if __name__ == "__main__":
    serve()
