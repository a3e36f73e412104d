"""What every subject shares: records, errors, ports, names, quotas, leases, and plumbing of actors."""
