from __future__ import annotations

import json
from dataclasses import asdict

from tag2mask.runs.typed import typed
from tag2mask.sources import Source, TagReading


def test_what_run_json_notes_is_read_again() -> None:
    source = Source("folder", "/set", 0.25, 3, reading=TagReading("photo", "animals", ("none", "No Finding"), True))
    assert typed(Source, json.loads(json.dumps(asdict(source))), "run.json") == source


def test_a_source_without_the_reading_is_one_as_usual() -> None:
    assert typed(Source, {"kind": "folder", "path": "/set"}, "run.json").reading == TagReading()
