"""The functions for ClickHouse Cloud: an archive for each, its settings, and the SQL of table and views."""
