"""Comparison with the peers: ``python -m benchmarks`` (``make bench``)."""
