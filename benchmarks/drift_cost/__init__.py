"""The pieces of `benchmarks.drift`: made frames, and one task a process, ours or a peer's, on the same files."""
