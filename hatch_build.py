"""The project page: README.md with links that work away from the repository, as the package's description.

Where the sources are published is known to whoever publishes them. The release workflow says so in the environment:
``PROJECT_URL`` (https://github.com/OWNER/NAME) and ``PROJECT_REF`` (the tag). Without them, links into the repository
become plain text and its pictures are left out, so that no link is dead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?![a-z]+:|#)(?P<path>[^)\s]+)\)")
_PICTURE = re.compile(
    r'!\[[^\]]*\]\((?![a-z]+:)(?P<path>[^)\s]+)\)|<img\s[^>]*src="(?![a-z]+:)(?P<source>[^"]+)"[^>]*>'
)


def project_page(text: str, url: str, ref: str) -> str:
    """``text`` with absolute links to ``ref`` of the repository at ``url``; without a URL, with none into it."""
    if not url:
        return _LINK.sub(r"\g<text>", _PICTURE.sub("", text))

    def picture(found: re.Match[str]) -> str:
        path = found["path"] or found["source"]
        return found[0].replace(path, f"{url}/raw/{ref}/{path}")

    return _LINK.sub(rf"[\g<text>]({url}/blob/{ref}/\g<path>)", _PICTURE.sub(picture, text))


class ProjectPage(MetadataHookInterface):
    """Fills the fields that pyproject.toml calls dynamic: the description, and the addresses of the project."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``, and ``urls`` where they are known."""
        url, ref = os.environ.get("PROJECT_URL", "").rstrip("/"), os.environ.get("PROJECT_REF", "main")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": project_page(text, url, ref)}
        if url:
            metadata["urls"] = {
                "Source": url,
                "Changelog": f"{url}/blob/{ref}/CHANGELOG.md",
                "Issues": f"{url}/issues",
            }
