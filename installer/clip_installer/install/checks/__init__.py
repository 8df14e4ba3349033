"""Checks of an installation: files, workers, functions in the server."""
