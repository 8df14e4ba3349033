"""The demonstration: a server's tree, the built-in model, 3 500 emoji pictures, and searches to repeat."""
