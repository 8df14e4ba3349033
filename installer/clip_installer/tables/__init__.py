"""Objects in the database: tables, views, vector indexes, and whose vectors they hold."""
