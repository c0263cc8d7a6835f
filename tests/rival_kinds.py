"""The rivals of known law, as configurations of the tiny model name them."""

RIVALS = {
    "gaussian": {"kind": "gaussian", "sigma": 0.05, "dim": 8},
    "metric": {"kind": "metric", "eta": 60.0},
    "exponential": {"kind": "exponential", "epsilon": 12.0},
    "santext": {"kind": "santext", "epsilon": 60.0},
    "custext": {"kind": "custext", "epsilon": 2.0, "group_size": 100},
}
