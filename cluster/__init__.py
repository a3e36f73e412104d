"""What the actors stand on: settings, store, runtimes, CODI, bring-up, telemetry."""
