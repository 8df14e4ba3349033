"""``python -m clip_installer`` is ``clip-udfs``."""

from clip_installer.cli import main

if __name__ == "__main__":
    main()
