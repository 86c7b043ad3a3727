"""The queue of explanations."""
