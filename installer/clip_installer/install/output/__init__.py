"""What install, verify and uninstall print: for a person, or as one JSON object."""
