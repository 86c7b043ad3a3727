"""What a click costs until it is on the screen, in a real browser: ``python -m benchmarks.ui``, see `__main__`."""
