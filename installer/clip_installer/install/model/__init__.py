"""The model that is installed: its bundle, its prepared graphs, its answers before it is installed."""
