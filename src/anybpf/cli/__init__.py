"""The command line ``anybpf``: parses arguments and renders what the packages below it return; no logic of its own.

Exit status: 0 done, 1 a program was rejected, 2 bad usage or bad input.
"""

from anybpf.cli.app import main

__all__ = ("main",)
