"""Broken clients of the kind that real code had, or could have."""

from museum import inputs, law, near_misses, noise, wire
from museum.client import Client, caught, inspect

FAULTS: tuple[type[Client], ...] = (*law.EXHIBITS, *noise.EXHIBITS, *inputs.EXHIBITS, *wire.EXHIBITS)
NEAR_MISSES: tuple[type[Client], ...] = near_misses.EXHIBITS

__all__ = ["FAULTS", "NEAR_MISSES", "Client", "caught", "inspect"]
