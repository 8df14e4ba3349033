"""ClickHouse's pipe: bytes to values, values to vectors or answers, and back to bytes."""
