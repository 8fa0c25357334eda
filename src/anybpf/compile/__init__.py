"""Driving clang: C sources to BPF objects."""
