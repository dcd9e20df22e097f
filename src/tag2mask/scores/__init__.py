"""How good masks are: confusion matrices, score tables."""
