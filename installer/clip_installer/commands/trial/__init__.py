"""Commands to try things out: a demonstration, a server for evaluation, SQL."""
