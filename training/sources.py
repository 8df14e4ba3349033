"""The picture sets: npm package, licence, and what each may be used for."""

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a style is for; only `TRAIN` styles reach the weights."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Source:
    """One iconify set on npm.

    `names` says how its icons are matched to emoji: "emoji" trusts any known name of an emoji (labels and
    shortcodes), "label" only the exact CLDR label, which is what general icon sets need, "country" the two
    letters of a flag.
    """

    style: str
    version: str
    licence: str
    attribution: str
    role: Role = Role.TRAIN
    names: str = "emoji"

    @property
    def package(self) -> str:
        """The npm package."""
        return f"@iconify-json/{self.style}"


SOURCES = (
    Source("noto", "1.2.9", "Apache-2.0", "Noto Emoji, Google Inc"),
    Source("noto-v1", "1.2.5", "Apache-2.0", "Noto Emoji v1 (blobs), Google Inc"),
    Source("fluent-emoji-flat", "1.2.6", "MIT", "Fluent Emoji, Microsoft Corporation"),
    Source("fluent-emoji", "1.2.7", "MIT", "Fluent Emoji, Microsoft Corporation"),
    Source("fluent-emoji-high-contrast", "1.2.6", "MIT", "Fluent Emoji, Microsoft Corporation"),
    Source("twemoji", "1.2.5", "CC-BY-4.0", "Twemoji, Twitter Inc and contributors"),
    Source("emojione", "1.2.3", "CC-BY-4.0", "Emoji One (EmojiTwo)"),
    Source("emojione-monotone", "1.2.1", "CC-BY-4.0", "Emoji One (EmojiTwo)"),
    Source("streamline-emojis", "1.2.4", "CC-BY-4.0", "Streamline Emojis, Streamline"),
    Source("fxemoji", "1.2.2", "Apache-2.0", "FxEmojis, Mozilla", Role.VALIDATION),
    Source("openmoji", "1.2.29", "CC-BY-SA-4.0", "OpenMoji, HfG Schwäbisch Gmünd", Role.TEST),
    Source("ph", "1.2.2", "MIT", "Phosphor Icons", names="label"),
    Source("tabler", "1.2.41", "MIT", "Tabler Icons, Paweł Kuna", names="label"),
    Source("icon-park", "1.2.4", "Apache-2.0", "IconPark, ByteDance", names="label"),
    Source("icon-park-outline", "1.2.4", "Apache-2.0", "IconPark, ByteDance", names="label"),
    Source("mdi", "1.2.3", "Apache-2.0", "Material Design Icons, Pictogrammers", names="label"),
    Source("lucide", "1.2.137", "ISC", "Lucide Contributors", names="label"),
    Source("game-icons", "1.2.4", "CC-BY-3.0", "game-icons.net and its authors", names="label"),
    Source("material-symbols", "1.2.98", "Apache-2.0", "Material Symbols, Google", names="label"),
    Source("streamline-color", "1.2.2", "CC-BY-4.0", "Streamline", names="label"),
    Source("flag", "1.2.12", "MIT", "flag-icons, Panayiotis Lipiridis", names="country"),
    Source("circle-flags", "1.2.11", "MIT", "circle-flags, HatScripts", names="country"),
    Source("cif", "1.2.7", "CC0-1.0", "CoreUI flags, Łukasz Holeczek", names="country"),
)
EMOJIBASE = ("emojibase-data", "17.0.0")
EMOJILIB = ("emojilib", "4.0.3")
