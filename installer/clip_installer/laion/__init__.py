"""Importing LAION's published parts: vectors in npy files, metadata in Parquet, into the searchable table."""

from __future__ import annotations

from clip_installer.errors import MissingExtra

try:
    import pyarrow as _  # noqa: F401  # every module here reads or writes its tables, so say once what is missing
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "import", "clip-udfs import-laion") from error
