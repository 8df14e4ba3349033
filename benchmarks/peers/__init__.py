"""Alternatives that an analyst could install: scripts that ClickHouse starts, with the same weights as ours."""
