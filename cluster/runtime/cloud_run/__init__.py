"""Containers on Google Cloud Run. Imported only where the settings choose it: its library is large."""
