"""Cloud Controller's logs: taking lines out of their wrappers, recognising them, counting them."""
