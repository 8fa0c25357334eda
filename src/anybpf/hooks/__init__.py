"""Event sources that programs attach to."""
