"""Peers of the profile benchmark, run with their own environments."""
