"""The feed of changes: inotify, and what the archive asks of it."""
