"""All changes or none: the lock, the journal, the rollback."""
