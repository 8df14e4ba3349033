"""What is written: the files of an installation, their text and their places."""
