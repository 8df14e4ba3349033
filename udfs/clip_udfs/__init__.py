"""CLIP text and image encoders that ClickHouse runs as executable functions."""

import os

__version__ = "0.1.0"

# ONNX Runtime sends usage data, and warns on standard error where it finds no home directory to keep an identifier in.
# A database's host must not do the one, and ClickHouse would report the other in place of a worker's own reason.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
