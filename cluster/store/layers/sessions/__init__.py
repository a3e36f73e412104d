"""Sessions, their containers and leases, their terminals and journals."""
