"""BPF type format: types, line information, CO-RE relocations."""
