"""Importing LAION's published parts: vectors in npy files, metadata in Parquet, into the searchable table."""
