"""What a trial server's configuration says about it."""

from __future__ import annotations

from pathlib import Path

from clip_installer.server.config import ServerConfig
from clip_installer.trial.configuration import Addresses, TrialConfiguration
from tests.server_trees import make_config


def test_search_pages_are_found_in_the_data_and_in_the_configuration(tmp_path: Path) -> None:
    """By the address of the page itself, not by those of its queries."""
    urls = "".join(f"<rule id='{url}'><url>{url}</url></rule>" for url in ("/clip_b", "/clip_b/about", "/theirs"))
    rules = f"<clickhouse><http_handlers>{urls}<defaults/></http_handlers></clickhouse>"
    config = ServerConfig.read(make_config(tmp_path, **{"config.d__clip_page_b.xml": rules}))
    handlers = config.path / "handlers"
    handlers.mkdir()
    for name, url in (("clip_page", "/clip"), ("clip_page_about", "/clip/about")):
        (handlers / f"{name}.sql").write_text(f"CREATE HANDLER {name} URL '{url}' METHODS (GET) AS SELECT 1")
    configuration = TrialConfiguration(config, Addresses("127.0.0.1", 1, 2), "", reserved=False)
    assert configuration.search_pages == ["/clip_b", "/clip"]
