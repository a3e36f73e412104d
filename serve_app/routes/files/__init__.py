"""Routes of files: one file a subject."""
