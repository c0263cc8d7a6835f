"""Figures with intervals that hold: what every estimate of a certificate is made with."""
