"""The pieces of `benchmarks.attack`: worlds and models, the peers' processes, and one module a question."""
