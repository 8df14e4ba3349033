"""What else an analyst could install: scripts that ClickHouse starts, on the same weights as ours."""
