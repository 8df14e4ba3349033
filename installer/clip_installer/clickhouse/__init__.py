"""How ClickHouse is asked: connections, and the SQL files that are rendered for it."""
