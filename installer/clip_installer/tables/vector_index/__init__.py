"""A table's vector indexes: building them and measuring their recall."""
