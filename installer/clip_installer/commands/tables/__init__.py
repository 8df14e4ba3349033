"""Commands for tables: fill, index, search and check them."""
