"""The install: what was asked for, what changes, and how it is applied as a whole."""
