"""The model to install: its bundle, its prepared graphs, and its vectors before it is installed."""
