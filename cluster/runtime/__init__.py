"""Starts containers: bubblewrap sandboxes of this machine, and stubs for measuring."""
