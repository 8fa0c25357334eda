"""Object files: ELF to specs."""
