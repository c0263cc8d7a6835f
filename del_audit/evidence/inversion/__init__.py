"""Inversion attacks on releases: how they are run, and what their readings show."""
