"""A ClickHouse server for evaluation and tests: chDB's engine in a process of its own, with listeners."""
