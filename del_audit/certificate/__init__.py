"""Policy, evidence and verdict: what is certified, and on which grounds."""
