"""The report: complete, self-contained, and whole whatever is missing."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch

from tag2mask.labels import IGNORE
from tag2mask.records import Cams, Evidence, PseudoMask, Seeds, TaggedImage
from tag2mask.report.page import _curves, write_report
from tag2mask.runs.manifest import Manifest, Origin
from tag2mask.runs.round import Round
from tag2mask.runs.stage_summary import StageSummary
from tag2mask.scores.confusion import Confusion
from tag2mask.scores.score import score_rounds
from tag2mask.scores.score_table import ScoreRow, ScoreTable

H, W = 40, 60


class FakeData:
    """Images with one square object of every class among their tags; the first image has no tags."""

    def __init__(self, count=5, num_classes=3, masks=True, size=(H, W)):
        self.class_names = tuple(f"class <{i}>" for i in range(num_classes))
        self.names = tuple(f"photos/{i}" for i in range(count))
        self.val_names = ()
        self.masks, self.size = masks, size

    def tags(self, name):
        number, num_classes = self.names.index(name), len(self.class_names)
        tags = torch.zeros(num_classes, dtype=torch.bool)
        if number:
            tags[(number - 1) % num_classes] = True
        return tags

    def __getitem__(self, name):
        generator = torch.Generator().manual_seed(self.names.index(name))
        pixels = torch.randint(0, 256, (3, *self.size), generator=generator, dtype=torch.uint8)
        return TaggedImage(name, pixels, self.tags(name))

    def truth(self, name):
        labels = torch.zeros(self.size, dtype=torch.int64)
        for class_id in self.tags(name).nonzero().flatten().tolist():
            labels[self.size[0] // 4 : self.size[0] // 2, : self.size[1] // 2] = class_id + 1
        return labels

    def mask(self, name):
        return self.truth(name) if self.masks else None

    def has_masks(self):
        return self.masks

    def digest(self):
        return "0"


class FakeRun:
    """A run whose masks are the truth moved by as many pixels as the image's number."""

    def __init__(self, path, data, missing=()):
        self.path, self.data, self.missing = path, data, missing

    def manifest(self):
        return Manifest(
            tuple(self.data.class_names),
            "digest",
            seed=3,
            origin=Origin("quick"),
            versions={"tag2mask": "0.1.0", "torch": "2.7"},
            settings={"classify": {"epochs": 8, "rate": 0.01, "scales": [0.5, 1.0], "deep": {"a": [[1]]}}},
            skipped={"photos/broken": "truncated file"},
        )

    def labels(self, name):
        return self.data.truth(name).roll(self.data.names.index(name), dims=1)

    def made(self, what, record_of):
        return {} if what in self.missing else {name: record_of(name) for name in self.data.names}

    def mask(self, name):
        labels = self.labels(name)
        return PseudoMask(name, labels, torch.ones(labels.shape))

    @property
    def cams(self):
        def maps(name):
            class_ids = self.data.tags(name).nonzero().flatten()
            scores = torch.linspace(0, 1, 20).reshape(1, 4, 5).repeat(len(class_ids), 1, 1)
            return Cams(name, class_ids, scores, self.data.size)

        return self.made("cams", maps)

    @property
    def seeds(self):
        def sure(name):
            labels = self.labels(name)
            labels[:, -5:] = IGNORE
            return Seeds(name, labels)

        return self.made("seeds", sure)

    @property
    def boundaries(self):
        return self.made("boundaries", lambda _: torch.linspace(0, 1, 150).reshape(10, 15))

    @property
    def walks(self):
        return self.made("walk", self.labels)

    @property
    def masks(self):
        return self.made("mask", self.mask)

    @property
    def predictions(self):
        return self.made("prediction", self.mask)

    def last_round(self):
        return None

    def final_masks(self):
        return SimpleNamespace(masks=self.masks) if self.masks else None

    def stage_summaries(self):
        evidence = Evidence("alpha", ("alpha", "agreement"), (("4", "0.5123"), ("16", "-")))
        return {
            "01_classify": StageSummary("mAP 0.81", 300, 81.2),
            "03_seed": StageSummary("alpha 16", 0, 0.0, evidence=evidence),
        }

    def curves(self):
        wild = [(0, float("nan")), (1, 2.0), (2, float("inf")), (3, 1.0)]
        long = [(i, 1 / (i + 1)) for i in range(5000)]
        return {"01_classify": {"loss": long, "wild": wild, "constant": [(0, 1.0), (1, 1.0)], "one": [(0, 1.0)]}}


def scores(data, *keys):
    total = Confusion.empty(len(data.class_names))
    for name in data.names:
        total += Confusion.of(data.truth(name), data.truth(name).roll(2, dims=1), len(data.class_names))
    rows = [ScoreRow(key, key, total, note=f"note of {key}") for key in keys]
    return ScoreTable(data.class_names, tuple(rows))


def columns_of(page):
    """The names of the pictures of an image, which stand above each of them."""
    return list(dict.fromkeys(re.findall(r'<div class="head">([^<]+)</div>', page)))


class TagBalance(HTMLParser):
    """Fails where a tag closes another one than the last that was opened."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """A tag that closes itself, such as <line/>."""

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag


def read_page(path):
    page = path.read_text(encoding="utf-8")
    parser = TagBalance()
    parser.feed(page)
    assert parser.open == []
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert "url(" not in page
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert len(page) < 5_000_000
    return page


def test_the_whole_page(tmp_path):
    data = FakeData()
    table = scores(data, "cam", "seeds", "walk_crf", "segmenter_val")
    path = write_report(FakeRun(tmp_path, data), data, table, rows=4)
    assert path == tmp_path / "report.html"
    page = read_page(path)
    text = unescape(page)
    for class_name in data.class_names:
        assert class_name in text
        assert class_name not in page, "class names are escaped"
    for part in (
        "mAP 0.81",
        "1 min 21 s",
        "0.5123",
        "note of cam",
        "epochs",
        "0.5, 1",
        "truncated file",
        "torch 2.7",
    ):
        assert part in text
    heads = columns_of(page)
    assert heads[:4] == ["image", "activation map", "seeds", "learned boundaries"]
    assert heads[4:] == ["random walk", "pseudo mask", "segmenter", "truth"]
    assert page.count("<img ") == 4 * 8
    assert page.count("<polyline") == 3
    assert "nan" not in re.sub(r'src="[^"]*"', "", page)


def test_best_median_and_worst_come_first(tmp_path):
    data = FakeData(count=5)
    page = read_page(write_report(FakeRun(tmp_path, data), data, rows=5))
    shown = re.findall(r'<span class="badge (\w+)">\w+</span><br>(\S+)', page)
    # The masks are the truth moved by 0, 1, 2 ... pixels; the first image has no tags and is not ranked.
    assert shown[:3] == [("best", "photos/1"), ("median", "photos/2"), ("worst", "photos/4")]
    assert sorted(name for why, name in shown[3:]) == ["photos/0", "photos/3"]
    assert {why for why, _ in shown[3:]} == {"random"}


def test_the_same_seed_shows_the_same_images(tmp_path):
    data = FakeData(count=30, masks=False)
    pages = [read_page(write_report(FakeRun(tmp_path, data), data, rows=3, seed=seed)) for seed in (1, 1, 2)]
    assert pages[0] == pages[1] != pages[2]


@pytest.mark.parametrize("missing", ["cams", "seeds", "boundaries", "walk", "mask", "prediction"])
def test_a_stage_that_did_not_run_has_no_column(tmp_path, missing):
    data = FakeData()
    page = read_page(write_report(FakeRun(tmp_path, data, {missing}), data))
    assert len(columns_of(page)) == 7
    assert page.count("<img ") == 5 * 7


def test_nothing_but_images(tmp_path):
    data = FakeData(masks=False)
    run = FakeRun(tmp_path, data, {"cams", "seeds", "boundaries", "walk", "mask", "prediction"})
    run.manifest, run.stage_summaries, run.curves = lambda: Manifest((), ""), dict, dict
    page = read_page(write_report(run, data))
    assert page.count("<img ") == 5
    assert "<h2>Scores" not in page
    assert "<h2>Training" not in page


@pytest.mark.parametrize("masks", [True, False])
def test_one_class(tmp_path, masks):
    data = FakeData(num_classes=1, masks=masks)
    page = read_page(write_report(FakeRun(tmp_path, data), data, scores(data, "walk_crf") if masks else None))
    assert "1 class," in page or "1 class " in page
    assert ('<div class="head">truth' in page) == masks


def test_an_image_without_tags_says_so(tmp_path):
    data = FakeData(count=1)
    assert "no tags" in read_page(write_report(FakeRun(tmp_path, data), data))


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (1, 1)])
def test_images_of_any_shape(tmp_path, size):
    data = FakeData(count=2, size=size)
    assert read_page(write_report(FakeRun(tmp_path, data), data)).count("<img ") == 2 * 8


def test_many_classes_and_many_rows_stay_small(tmp_path):
    data = FakeData(count=60, num_classes=300)
    page = read_page(write_report(FakeRun(tmp_path, data), data, scores(data, "cam", "walk_crf"), rows=50))
    assert page.count("<img ") == 50 * 8
    assert all(name in unescape(page) for name in data.class_names)


def test_no_images_and_no_rows(tmp_path):
    empty = FakeData(count=0)
    assert "<img " not in read_page(write_report(FakeRun(tmp_path, empty), empty))
    data = FakeData()
    assert "<img " not in read_page(write_report(FakeRun(tmp_path, data), data, rows=0))


def test_rounds_have_a_table_pictures_and_settings(scenes, copied_rounds):
    rounds = score_rounds(copied_rounds, scenes)
    page = read_page(write_report(copied_rounds, scenes, None, rounds, rows=4))
    assert "<h2>Rounds</h2>" in page
    assert "<h2>Scores" not in page
    table = page.split("<h2>Rounds</h2>")[1].split("</table>")[0]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")[2:]]
    for row, found in zip(rounds.rows, cells, strict=True):
        shares = (row.unary_train, row.refined_train, row.taught_train, row.unary_val, row.refined_val)
        shares += (row.coverage, row.precision, row.unary_precision, row.agreement)
        energies = (row.energy, row.energy_mined, row.energy_refined)
        assert found[0] == str(row.number)
        assert found[1:10] == [f"{100 * share:.1f}" for share in shares]
        assert found[10:13] == [f"{1e6 * energy:.0f}" for energy in energies]
    drawn = page.split("<h2>Rounds</h2>")[1].split("<h2>")[0]
    assert drawn.count("<polyline") == len(rounds.curves())
    heads = columns_of(page)
    assert heads == ["image", "round 1", "confident, round 2", "round 2", "truth"]
    assert page.count("<img ") == 4 * 5
    assert "mean IoU of the masks of round 2" in page
    settings = page.split("<h2>Settings of the rounds</h2>")[1]
    for part in ("superpixels", "threshold", "smoothness"):
        assert part in settings


def test_the_best_of_a_run_of_rounds_is_that_of_its_last_round(scenes, copied_rounds):
    masks = Round(copied_rounds, 2).sharpened
    tagged = [name for name in scenes.names if scenes.tags(name).any()]
    ranked = sorted(
        (Confusion.of(scenes.mask(name), masks[name].labels, 6, decided_only=True).mean_iou(), name) for name in tagged
    )
    page = read_page(write_report(copied_rounds, scenes, rows=8))
    shown = re.findall(r'<span class="badge (\w+)">\w+</span><br>(\S+)', page)
    assert shown[0] == ("best", ranked[-1][1])
    assert shown[2] == ("worst", ranked[0][1])


def test_rounds_without_truth_and_with_lost_files(scenes, copied_rounds):
    class Blind(FakeData):
        class_names, names, val_names = scenes.class_names, scenes.names, scenes.val_names

        def __init__(self):
            self.masks = False

        def __getitem__(self, name):
            return scenes[name]

        def tags(self, name):
            return scenes.tags(name)

    rounds = score_rounds(copied_rounds, Blind())
    for name in scenes.names:
        (copied_rounds.path / "rounds/2/3_mine/mined" / f"{name}.png").unlink()
    page = read_page(write_report(copied_rounds, Blind(), None, rounds))
    text = re.sub(r'src="[^"]*"', "", page)
    assert "nan" not in text
    assert "<h2>Rounds</h2>" in page
    assert "IoU of the masks" not in page
    assert '<div class="head">round 2' in page
    assert '<div class="head">confident' not in page


def test_an_unfinished_round_is_not_shown(scenes, copied_rounds):
    (copied_rounds.path / "rounds/1/5_refine/stage.json").unlink()
    page = read_page(write_report(copied_rounds, scenes, None, score_rounds(copied_rounds, scenes)))
    assert "<h2>Rounds</h2>" not in page
    assert columns_of(page) == ["image", "truth"]


def test_a_loss_of_one_term_is_drawn_once():
    alone = {"labels": [(1, 0.5), (2, 0.4)], "loss": [(1, 0.5), (2, 0.4)]}
    assert [curve.name for curve in _curves(alone)] == ["labels"]
    two = {"a": [(1, 0.2), (2, 0.1)], "b": [(1, 0.3), (2, 0.3)], "loss": [(1, 0.5), (2, 0.4)]}
    assert [curve.name for curve in _curves(two)] == ["a", "b", "loss"]


class Parents(HTMLParser):
    """For each table and each tile: the classes of the elements around it, from the innermost."""

    VOID = TagBalance.VOID | {"line", "polyline"}

    def __init__(self):
        super().__init__()
        self.open, self.tables, self.tiles = [], [], []

    def handle_starttag(self, tag, attrs):
        classes = dict(attrs).get("class") or ""
        around = [outer for _, outer in reversed(self.open)]
        if tag == "table":
            self.tables.append(around)
        if "tile" in classes.split():
            self.tiles.append(around)
        if tag not in self.VOID:
            self.open.append((tag, classes))

    def handle_startendtag(self, tag, attrs):
        """Nothing can be inside."""

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass


def rule_of(page, selector):
    """What the style sheet says of a selector outside of print and small pages."""
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1].split("@media print")[0]
    return re.search(r"^" + re.escape(selector) + r" \{([^}]*)\}", style, re.MULTILINE)[1]


def test_no_table_and_no_picture_is_cut_off_however_narrow_the_page(scenes, rounds, tmp_path):
    page = read_page(write_report(rounds, scenes, None, score_rounds(rounds, scenes)))
    data = FakeData()
    page_of_stages = read_page(write_report(FakeRun(tmp_path, data), data, scores(data, "cam", "walk_crf")))
    for text, tables in ((page, 2), (page_of_stages, 4)):
        found = Parents()
        found.feed(text)
        assert len(found.tables) >= tables
        assert all(around[0] == "scroll" for around in found.tables), "each table moves inside its own box"
        assert found.tiles
        assert all(around[:2] == ["tiles", "story"] for around in found.tiles), "pictures lie in rows that wrap"
        assert all("scroll" not in around for around in found.tiles)
    assert "overflow-x: auto" in rule_of(page, ".scroll")
    assert "repeat(auto-fit, minmax(" in rule_of(page, ".tiles")
    assert "flex-wrap: wrap" in rule_of(page, ".choices")
    assert "min-width: calc(" not in page, "nothing grows with the number of stages"


def test_a_picture_that_is_missing_leaves_its_place_and_its_name(tmp_path):
    class Lost(FakeRun):
        def made(self, what, record_of):
            found = super().made(what, record_of)
            return {"photos/1": found["photos/1"]} if what == "walk" else found

    data = FakeData(count=2)
    run = Lost(tmp_path, data)
    page = read_page(write_report(run, data))
    assert page.count('<div class="head">random walk</div>') == 2
    assert page.count('alt="random walk of') == 1
