"""The user's own pictures: listed, compared with the table, and encoded if they are new or have changed."""
