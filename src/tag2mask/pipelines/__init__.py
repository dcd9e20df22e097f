"""The whole story, one pipeline per file, one line per stage."""
