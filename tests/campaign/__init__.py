"""Runs the remediator's real processes against everything that can go wrong, and checks what they did."""
