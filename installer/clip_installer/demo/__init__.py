"""The demonstration: a server's tree, the built-in model, 3 508 emoji images, and searches to repeat."""
