"""The run folder: stages, artefacts, settings; whole files or none, never pickles."""
