"""What is remembered: ``installed.json``, every installed file with its SHA-256."""
