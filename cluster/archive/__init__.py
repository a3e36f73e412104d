"""Keeps what is in workspaces: chunks in a directory or bucket, manifests in the store."""
