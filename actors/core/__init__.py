"""The base of every subject: records, errors, ports, names, quotas, leases, and plumbing of actors."""
