"""How ClickHouse is configured on this host: its merged configuration, its user, an embedded engine on it."""
