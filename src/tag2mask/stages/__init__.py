"""One file per arrow of the pipeline: read artefacts, call ops and nets, write artefacts."""
