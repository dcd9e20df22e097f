"""MATHS: pure functions on tensors or arrays, one concept per file; they know no dataset and no disk."""
