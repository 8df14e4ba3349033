"""Access to ClickHouse: connections, and the SQL templates that are rendered for it."""
