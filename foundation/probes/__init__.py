"""Probes: one attempt each, staged, under one deadline. See `result` for what they give back."""
