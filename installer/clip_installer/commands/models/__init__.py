"""Commands for models: build, list and try them."""
