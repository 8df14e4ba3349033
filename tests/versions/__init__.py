"""The versions of ClickHouse that the functions are promised for, out of chDB's wheels."""
