"""How much memory and how many machines an installation needs."""
