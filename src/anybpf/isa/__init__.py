"""Instructions: decode, encode, assemble, disassemble."""
