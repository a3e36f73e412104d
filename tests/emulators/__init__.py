"""Emulators of services in the cloud, for tests."""
