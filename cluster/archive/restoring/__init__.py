"""From the archive into a container or an answer."""
