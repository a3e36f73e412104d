"""Users, their logins and tokens, attempts, and the audit trail."""
