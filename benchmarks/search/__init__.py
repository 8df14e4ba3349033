"""Tables, indexes, searches and the search page."""
