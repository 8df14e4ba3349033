"""The demonstration: a server configuration, the built-in model, 3 508 emoji images, and searches to repeat."""
