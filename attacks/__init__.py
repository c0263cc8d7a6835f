"""Attacks on released codes, from the paper's nearest neighbour to the exact posterior."""
