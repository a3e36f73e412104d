"""Signing in: passwords, tokens, revocations, limits of attempts, the audit trail."""
