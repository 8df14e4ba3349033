"""A ClickHouse server for evaluation and tests: chDB in a separate process, with listeners."""
