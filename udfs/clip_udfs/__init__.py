"""CLIP text and image encoders that ClickHouse runs as executable functions."""

__version__ = "0.1.0"
