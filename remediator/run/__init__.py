"""One run: `runner` has the order of its steps and its end, the others a step each, and what steps share."""
