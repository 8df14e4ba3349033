"""One GPU at its limit: towers alone, decoding, and whole workers driven over their pipes. Needs no ClickHouse."""
