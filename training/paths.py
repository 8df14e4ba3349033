"""Where the training scripts keep their files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / "cache"
NPM = CACHE / "npm"
DATA = CACHE / "data"
RUNS = ROOT / "runs"
MODEL_CONFIG = ROOT / "emoji_clip.json"
CHECKPOINT = ROOT / "checkpoint" / "emoji-clip.safetensors"
PICTURES = ROOT.parent / "installer" / "clip_installer" / "demo" / "pictures.zip"
