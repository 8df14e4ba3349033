"""Access to the server's files that no other user can redirect."""
