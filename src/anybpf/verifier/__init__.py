"""The verifier: proves programs safe, explains what it refuses."""

from anybpf.verifier.failure import FAILURES, FailureKind, render
from anybpf.verifier.verdict import Facts, Failure, PathStep, Verdict
from anybpf.verifier.verify import BUDGET, verify, verify_program

__all__ = (
    "BUDGET",
    "FAILURES",
    "Facts",
    "Failure",
    "FailureKind",
    "PathStep",
    "Verdict",
    "render",
    "verify",
    "verify_program",
)
