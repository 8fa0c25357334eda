"""The execution context: maps, programs, lowering, interpreters, JIT."""
