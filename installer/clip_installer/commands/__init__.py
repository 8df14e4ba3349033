"""One module per sub-command of ``clip-udfs``."""
