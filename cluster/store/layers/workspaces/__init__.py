"""Workspaces: manifests, chunks, saves, usage, retention."""
