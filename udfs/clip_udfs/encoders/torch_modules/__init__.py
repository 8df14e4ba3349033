"""open_clip's towers as torch modules: what is exported, and what the torch engine runs."""
