"""The one error of this package."""


class BenchError(Exception):
    """A measurement could not be made, or two counts that must agree do not; one line for the person who runs it."""
