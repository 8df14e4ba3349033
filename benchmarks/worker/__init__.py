"""A worker, and what runs in it, without ClickHouse."""
