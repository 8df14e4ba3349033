"""The concepts (one per base emoji) with their names in English and Chinese, read from emojibase."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

LANGUAGES = ("en", "zh")
COMPONENT_GROUP = 2
EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"
# What general icon sets append to a name to tell the weight of the drawing.
WEIGHT = re.compile(r"(-(\d|fill|filled|outline|bold|thin|light|duotone|rounded))+$")


@dataclass(frozen=True)
class Concept:
    """One emoji: its code points and, by language, its label, keywords and (sub)group names; more English words."""

    hexcode: str
    emoji: str
    label: dict[str, str]
    keywords: dict[str, list[str]]
    groups: dict[str, list[str]]
    subgroup: str
    synonyms: list[str]


def read_concepts(emojibase: Path, emojilib: Path) -> list[Concept]:
    """Every emoji that belongs to a group, skin-tone variants and components left out."""
    further = json.loads((emojilib / "dist" / "emoji-en-US.json").read_text())
    synonyms = {emoji.replace(EMOJI_STYLE, ""): words for emoji, words in further.items()}
    data = {lang: json.loads((emojibase / lang / "data.json").read_text()) for lang in LANGUAGES}
    messages = {lang: json.loads((emojibase / lang / "messages.json").read_text()) for lang in LANGUAGES}
    meta = json.loads((emojibase / "meta" / "groups.json").read_text())
    translated = {entry["hexcode"]: entry for entry in data["zh"]}
    names = {
        (lang, kind): {entry["key"]: entry["message"] for entry in messages[lang][kind]}
        for lang in LANGUAGES
        for kind in ("groups", "subgroups")
    }
    concepts = []
    for entry in sorted(data["en"], key=lambda item: item.get("order", 0)):
        if entry.get("group") in (None, COMPONENT_GROUP):
            continue
        both = {"en": entry, "zh": translated[entry["hexcode"]]}
        group = meta["groups"][str(entry["group"])]
        subgroup = meta["subgroups"][str(entry["subgroup"])]
        concepts.append(
            Concept(
                hexcode=entry["hexcode"],
                emoji=entry["emoji"],
                label={lang: both[lang]["label"] for lang in LANGUAGES},
                keywords={lang: list(both[lang].get("tags", [])) for lang in LANGUAGES},
                groups={lang: [names[lang, "groups"][group], names[lang, "subgroups"][subgroup]] for lang in LANGUAGES},
                subgroup=subgroup,
                synonyms=[word.replace("_", " ") for word in synonyms.get(entry["emoji"].replace(EMOJI_STYLE, ""), [])],
            )
        )
    return concepts


def normalised(name: str) -> str:
    """Lower-case letters and digits only, so that `Ferris wheel` equals `ferris-wheel`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


class NameIndex:
    """Finds the concept that an icon's name or code points stand for."""

    def __init__(self, concepts: list[Concept], emojibase: Path) -> None:
        """Index labels first, then every preset of English shortcodes."""
        self.by_hexcode = {bare(concept.hexcode): number for number, concept in enumerate(concepts)}
        self.by_label: dict[str, int] = {}
        for number, concept in enumerate(concepts):
            self.by_label.setdefault(normalised(concept.label["en"]), number)
        self.by_name = dict(self.by_label)
        for preset in ("cldr", "emojibase", "iamcal", "github", "joypixels", "emojibase-legacy"):
            codes = json.loads((emojibase / "en" / "shortcodes" / f"{preset}.json").read_text())
            for hexcode, names in codes.items():
                number = self.by_hexcode.get(bare(hexcode))
                for name in [names] if isinstance(names, str) else names:
                    if number is not None:
                        self.by_name.setdefault(normalised(name), number)

    def match(self, icons: list[str], chars: dict[str, str], names: str) -> dict[str, int]:
        """Concept number by icon name; `chars` maps code points to icon names where the set gives them."""
        if names == "country":
            found = [(icon, self._flag(icon)) for icon in icons]
        elif names == "label":
            found = [(icon, self.by_label.get(normalised(WEIGHT.sub("", icon)))) for icon in icons]
        elif chars:
            found = [(icon, self.by_hexcode.get(bare(code))) for code, icon in chars.items()]
        else:
            found = [(icon, self._by_name(icon)) for icon in icons]
        return {icon: number for icon, number in found if number is not None}

    def _by_name(self, icon: str) -> int | None:
        plain = re.sub(r"-\d$", "", icon.replace("flag-for-", "flag-"))
        return self.by_name.get(normalised(icon), self.by_name.get(normalised(plain)))

    def _flag(self, icon: str) -> int | None:
        country = re.fullmatch(r"([a-z]{2})(-4x3|-1x1)?", icon)
        if country is None:
            return None
        return self.by_hexcode.get("-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in country[1]))


def bare(hexcode: str) -> str:
    """Code points in upper case without variation selectors."""
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def write_concepts(concepts: list[Concept], path: Path) -> None:
    """Write the concepts as JSON."""
    path.write_text(json.dumps([asdict(concept) for concept in concepts], ensure_ascii=False, indent=1))


def load_concepts(path: Path) -> list[Concept]:
    """Read what `write_concepts` wrote."""
    return [Concept(**entry) for entry in json.loads(path.read_text())]
