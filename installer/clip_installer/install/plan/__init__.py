"""The plan: what an install or a removal would change, before anything is changed."""
