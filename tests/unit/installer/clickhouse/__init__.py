"""Tests of clip_installer.clickhouse."""
