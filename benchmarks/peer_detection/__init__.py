"""Peers of the detection benchmark, each run by the python of its own environment; see `benchmarks/peers.py`."""
