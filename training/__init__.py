"""Training of the small bilingual demonstration CLIP on emoji pictures; not part of the wheel."""
