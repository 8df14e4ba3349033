"""Objects in the database: tables, views, vector indexes, and the models of their vectors."""
