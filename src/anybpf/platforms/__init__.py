"""Platforms as data: what each promises to programs."""
