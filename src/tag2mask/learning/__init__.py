"""Networks learn here: the only training loop, its batches and views, and segmenters of any kind."""
