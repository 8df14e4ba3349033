"""How ClickHouse is configured on this host: its merged configuration, its user, the configuration for chDB."""
