"""One module a question: `python -m benchmarks.NAME [--quick] [--peers]`. The last line printed is one JSON object."""
