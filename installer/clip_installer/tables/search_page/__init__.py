"""The search page: its queries and handlers, and their deployment."""
