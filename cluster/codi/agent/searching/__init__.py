"""Searching the workspace, in a process of its own: an expression may take for ever, and is killed then."""
