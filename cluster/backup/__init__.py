"""Backups: the store as of one moment and every pack that it needs, in another place."""
