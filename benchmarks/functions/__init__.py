"""The functions in ClickHouse, compared with the peers: the works of ``python -m benchmarks``."""
