"""Exact guarantees, attacks and certificates for DEL, the stochastic quantizer of private LLM prompts."""
