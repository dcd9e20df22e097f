"""IN: images and tags, and masks for scoring only."""
