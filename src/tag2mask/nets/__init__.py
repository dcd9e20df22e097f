"""nn.Modules: tensors in, tensors out; no loss, no training, no download."""
