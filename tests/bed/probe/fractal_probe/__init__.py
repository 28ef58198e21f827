"""Probe tasks for tests of a Fractal instance."""
