"""The exporter's web front: pages, metrics, health and reload, and the server that carries them."""
