"""The way from the ingress to sessions: the gateway, events, attachments, saves."""
