"""The user's own pictures: listed, compared with the table, and encoded where they are new or have changed."""
