"""C sources to BPF objects, with clang and the headers that come with this package."""

from anybpf.compile.clang import Clang, compile_source, find_clang, include_dir

__all__ = ("Clang", "compile_source", "find_clang", "include_dir")
