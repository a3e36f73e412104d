"""The base under the actors: settings, store, runtimes, CODI, bring-up, telemetry."""
