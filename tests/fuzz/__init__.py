"""Mutated pictures, streams and texts against what reads them: ``python -m tests.fuzz --seconds 600``."""
