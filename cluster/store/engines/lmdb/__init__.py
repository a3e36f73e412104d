"""The embedded engine: LMDB, with optimistic conflict detection and group commit."""
