"""Files that fill a network: reading them safely, matching their names, the authors' checkpoints."""
