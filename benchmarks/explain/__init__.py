"""Explanation methods in forward passes, side by side with their peers: ``python -m benchmarks.explain``."""
