"""One run's steps, in the order in which they are carried out."""
