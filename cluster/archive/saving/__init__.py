"""From a container into the archive: what changed, what to read, what to commit."""
