"""Turns an open_clip model into a bundle, and does not hand it over before it equals open_clip."""

from clip_installer.models.build.build import RANDOM, build_model

__all__ = ["RANDOM", "build_model"]
