"""What `benchmarks.training` is made of."""
