"""Choose and judge: alpha, beta, t and the like, found without any ground truth."""
