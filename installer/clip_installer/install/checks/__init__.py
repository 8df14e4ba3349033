"""What an installation must fulfil: files, workers, functions in the server."""
