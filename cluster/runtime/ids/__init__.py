"""User ids and user namespaces of containers."""
