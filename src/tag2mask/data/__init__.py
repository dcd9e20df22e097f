"""IN: images and tags (and masks, for scoring only), and the run folder that keeps what stages make."""
