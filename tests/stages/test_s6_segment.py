"""Stage 6: masks of training and held-out images, predicted by the segmenter that learned from pseudo masks."""

from tag2mask.stages.s6_segment import train_segmenter
from tiny import tiny_runtime, tiny_settings


def test_the_run_predicts_training_and_held_out_images(scenes, finished):
    for name in (*scenes.names, *scenes.val_names):
        mask = finished.predictions[name]
        assert mask.labels.shape == (48, 48)
        assert int(mask.labels.max()) <= 6


def test_predictions_go_on_after_the_training(scenes, copied):
    stage = copied.path / "06_segment"
    lost = [f"masks/{scenes.names[3]}.png", f"masks/{scenes.val_names[0]}.png"]
    expected = [(stage / name).read_bytes() for name in lost]
    copied_stage = copied.open_stage("06_segment", tiny_settings().segment, after=("01_classify", "05_walk"))
    assert copied_stage.finished
    for name in lost:
        (stage / name).unlink()
    state = copied_stage.summary()
    from tag2mask.disk import read_json, write_json

    whole = read_json(stage / "stage.json")
    write_json(stage / "stage.json", {**whole, "finished": False, "notes": {"curves": state.curves}})
    train_segmenter(scenes, copied.masks, copied, tiny_settings().segment, runtime=tiny_runtime())
    assert [(stage / name).read_bytes() for name in lost] == expected
