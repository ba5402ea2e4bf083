"""Peers of the attack benchmark, each in its own environment, asked over pipes about the same saved models and rows."""
