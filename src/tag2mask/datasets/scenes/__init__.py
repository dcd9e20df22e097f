"""Drawn photographs with known masks, for the demo and for measuring."""
