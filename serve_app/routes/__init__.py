"""The routes of the HTTP interface: each file is one subject."""
