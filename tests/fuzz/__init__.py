"""Fuzzing with mutated images, streams and texts: ``python -m tests.fuzz --seconds 600``."""
