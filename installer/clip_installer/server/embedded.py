"""The configuration file that chDB starts with."""

from __future__ import annotations

from pathlib import Path

from clip_installer.errors import ConfigurationError
from clip_installer.server.config import FUNCTIONS_KEY, ServerConfig
from clip_installer.server.config_files import YAML_SUFFIXES

DIRECTORY = "embedded_config"


def embedded_main_file(config: ServerConfig, data: Path) -> Path:
    """The main file for chDB with its data in ``data``.

    If that is the server's own data, it is the server's own file. Otherwise that file would be dangerous: its
    ``<path>`` overrides the data directory that chDB is given, so chDB would write into the data of a live server.
    Then, and if the configuration is YAML, which chDB cannot parse, a new file is written into ``data``. It takes only
    the functions, scripts and image directories from the server's configuration.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    in_xml = all(path.suffix.lower() not in YAML_SUFFIXES for path in config.files)
    if in_xml and data.resolve() == config.path.resolve():
        return config.main_file
    main_file = data / DIRECTORY / "config.xml"
    content = _own_config(config, data)
    try:
        main_file.parent.mkdir(parents=True, exist_ok=True)
        if not main_file.exists() or main_file.read_bytes() != content:
            main_file.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {main_file}: {error.strerror}") from error
    return main_file


def _own_config(config: ServerConfig, data: Path) -> bytes:
    from lxml import etree

    root = etree.Element("clickhouse")
    for name, directory in (
        ("path", data.absolute()),
        ("user_scripts_path", config.user_scripts_path),
        ("user_files_path", config.user_files_path),
    ):
        etree.SubElement(root, name).text = f"{directory}/"
    for number, pattern in enumerate(config.function_globs):
        etree.SubElement(root, FUNCTIONS_KEY, id=str(number)).text = pattern
    return etree.tostring(root, encoding="utf-8", pretty_print=True)
