"""What serves requests: instances of a revision, and the front door of each service."""
