"""Builds the native engine; everything else about the package is in pyproject.toml."""

from __future__ import annotations

import shutil
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

NO_COMPILER = "anybpf needs a C compiler to build its engine, and {} was not found: install gcc or clang and try again."


class BuildEngine(build_ext):
    """build_ext that says in one sentence that the compiler is missing."""

    def build_extensions(self) -> None:
        """Check for the compiler, then build."""
        if self.compiler.compiler_type == "msvc":
            try:
                self.compiler.initialize()
            except PlatformError:
                sys.exit(NO_COMPILER.format("Microsoft Visual C++"))
        elif shutil.which(self.compiler.compiler_so[0]) is None:
            sys.exit(NO_COMPILER.format(repr(self.compiler.compiler_so[0])))
        try:
            super().build_extensions()
        except CompileError:
            sys.exit("anybpf's engine did not compile; the compiler's messages stand above.")


setup(cffi_modules=["src/anybpf/runtime/build_engine.py:ffibuilder"], cmdclass={"build_ext": BuildEngine})
