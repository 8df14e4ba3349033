"""ClickHouse's configuration on this host: as merged, its system user, and a configuration for chDB."""
