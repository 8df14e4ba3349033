"""open_clip's model: its weights, its activation, its parts on the Hugging Face hub."""
