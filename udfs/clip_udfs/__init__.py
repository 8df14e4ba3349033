"""CLIP text and image encoders that ClickHouse runs as executable functions."""

import os

__version__ = "0.1.0"

# ONNX Runtime sends usage data, and warns on standard error if there is no home directory for its identifier. A
# database host must not send any, and ClickHouse would report the warning instead of a worker's own reason.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
