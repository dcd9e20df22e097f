"""What CONTRIBUTING promises of the house: who imports whom, sizes, no private parts of libraries, mirrored tests."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "tag2mask"
FILES = {path.relative_to(HOUSE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(HOUSE.rglob("*.py"))}
CONFIGURATION = read_configuration(str(ROOT / "pyproject.toml"))
CONTRACTS = {options["name"]: options for options in CONFIGURATION["contracts_options"]}
KINDS = {"layers": LayersContract, "independence": IndependenceContract, "forbidden": ForbiddenContract}

FORBIDDEN = {
    "Imports go only downward": [
        ("console", "cli"), ("pipelines.ial", "console"), ("stages.s3_seed", "pipelines.ial"),
        ("report.page", "stages.s3_seed"), ("learning.fit", "stages.s1_classify"), ("auto.choose", "learning.fit"),
        ("scores.score", "auto.choose"), ("weights.reading", "scores.score"), ("datasets.voc", "weights.reading"),
        ("datasets.voc", "runs.round"), ("nets.vgg16", "disk"), ("disk", "runs.round"), ("ops.crf", "nets.vgg16"),
        ("records", "ops.crf"), ("parallel", "records"), ("checks", "records"), ("runtime", "progress"),
    ],
    "Maths above its compiled loops": [("ops.kernels.scan", "ops.propagation"), ("ops.kernels.lattice", "ops.crf")],
    "Stages meet only through files": [
        ("stages.s3_seed", "stages.s2_localize"), ("stages.r5_refine", "stages.r2_estimate"),
    ],
    "Only cli.py and options.py know the command-line library": [
        ("console", "typer"), ("pipelines.ial", "typer"), ("cli", "click"),
    ],
    "Only runtime.py and learning/fit.py know Fabric": [
        ("learning.batches", "lightning_fabric"), ("stages.s1_classify", "lightning_fabric"),
        ("cli", "lightning_fabric"),
    ],
    "Only parallel.py knows Ray": [("stages.s3_seed", "ray"), ("runtime", "ray")],
    "Maths, nets and confusion touch no disk and draw nothing": [
        ("ops.crf", "PIL"), ("nets.vgg16", "safetensors"), ("scores.confusion", "runs.round"), ("ops.crf", "rich"),
    ],
}  # fmt: skip
"""Imports that each contract must refuse; the names of libraries stand alone."""

BREAKS = [(name, *imports) for name, pairs in FORBIDDEN.items() for imports in pairs]

LONG_FUNCTIONS = {"ops/kernels/mean_field.py:make_kernels", "ops/kernels/mean_field.py:step"}
LONG_FILES: set[str] = set()
MANY_ARGUMENTS: set[str] = set()
PRIVATE: set[str] = set()
LAZY_ARGUMENTS = 0
"""What does not keep the rules yet. These lists may only become shorter: who mends one takes it out."""

OF_SEVERAL_FILES = {
    "datasets/test_public_layouts.py",
    "ops/test_chain.py",
    "ops/test_border_pairs.py",
    "nets/test_families.py",
    "learning/test_any_segmenter.py",
    "runs/test_every_kind.py",
}
"""Tests of several files together, or of a part of one."""


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("tag2mask", include_external_packages=True, cache_dir=None)


def kept(name, graph):
    """Whether a contract is kept, as ``lint-imports`` finds it."""
    options = CONTRACTS[name]
    contract = KINDS[options["type"]](name, CONFIGURATION["session_options"], options)
    return contract.check(copy.deepcopy(graph), verbose=False).kept


def module_of(word):
    file = HOUSE.joinpath(*word.split("."))
    return f"tag2mask.{word}" if file.is_dir() or file.with_suffix(".py").is_file() else word


def test_every_contract_has_imports_that_it_must_refuse():
    assert FORBIDDEN.keys() == CONTRACTS.keys()


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_is_kept(name, graph):
    assert kept(name, graph)


@pytest.mark.parametrize(("name", "importer", "imported"), BREAKS)
def test_a_contract_fails_when_it_is_broken(name, importer, imported, graph):
    broken = copy.deepcopy(graph)
    assert module_of(importer) in broken.modules
    if module_of(imported) not in broken.modules:
        broken.add_module(imported, is_squashed=True)
    broken.add_import(importer=module_of(importer), imported=module_of(imported))
    assert not kept(name, broken)


def test_the_layers_know_every_room(graph):
    layers = CONTRACTS["Imports go only downward"]
    assert layers["exhaustive"] in (True, "True")
    assert layers["exhaustive_ignores"] == ["__main__"]
    with_attic = copy.deepcopy(graph)
    with_attic.add_module("tag2mask.attic")
    assert not kept("Imports go only downward", with_attic)


@pytest.mark.parametrize("word", ["voc", "coco_folder", "folder"])
def test_a_dataset_is_named_in_one_place_besides_its_own_file(word, graph):
    importers = graph.find_modules_that_directly_import(f"tag2mask.datasets.{word}")
    outside = {name for name in importers if not name.startswith("tag2mask.datasets.")} - {"tag2mask"}
    assert outside <= {"tag2mask.pipelines.demo"}, "only the demo opens the folder that it wrote"
    assert "tag2mask.datasets.source" in importers


def test_a_stage_is_known_to_pipelines_only(graph):
    for stage in graph.find_children("tag2mask.stages"):
        importers = graph.find_modules_that_directly_import(stage) - {"tag2mask"}
        assert importers, f"{stage} is in no pipeline"
        assert all(name.startswith("tag2mask.pipelines.") for name in importers), stage


def test_a_stage_is_named_in_five_files_and_in_the_stage_after_it():
    found = {file for file, text in FILES.items() if re.search(r"\bWALK\b|s5_walk|WalkSettings", text)}
    own = {"stages/s5_walk.py", "pipelines/affinitynet.py"}
    assert found == own | {f"runs/{name}.py" for name in ("places", "artefacts", "run_folder")} | {
        "stages/s6_segment.py"
    }


def test_an_artefact_has_one_owner():
    """Its kind, and with it its files' names and encoding, stands in one file."""
    assert {file for file, text in FILES.items() if re.search(r"\bKind\(", text)} == {"runs/artefacts.py"}
    for file, text in FILES.items():
        if file.startswith(("stages/", "report/", "scores/", "pipelines/")):
            assert ".npz" not in text, file


def functions():
    for file, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                yield file, node, text.splitlines()


def lines_of_code(node, lines):
    """Lines from ``def`` to the end, without the docstring and blank lines."""
    own = set(range(node.lineno, node.end_lineno + 1))
    if ast.get_docstring(node) is not None:
        own -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(bool(lines[number - 1].strip()) for number in own)


def test_functions_have_at_most_40_lines_of_code():
    found = {f"{file}:{node.name}" for file, node, lines in functions() if lines_of_code(node, lines) > 40}
    assert found == LONG_FUNCTIONS


def test_files_have_at_most_300_lines():
    assert {file for file, text in FILES.items() if text.count("\n") > 300} == LONG_FILES


def test_functions_take_at_most_5_arguments_by_position():
    found = set()
    for file, node, _ in functions():
        compiled = file.startswith("ops/kernels/") or any("kernel" in ast.unparse(mark) for mark in node.decorator_list)
        arguments = [each.arg for each in (*node.args.posonlyargs, *node.args.args) if each.arg not in ("self", "cls")]
        # Compiled loops have no arguments by name.
        if not compiled and len(arguments) > 5:
            found.add(f"{file}:{node.name}")
    assert found == MANY_ARGUMENTS


def private_parts(text):
    """Attributes with a leading underscore of anything but oneself, and private names that are imported."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            words = [*(node.module or "").split("."), *(name.name for name in node.names)]
            if words[0] not in ("__future__", "_typeshed") and any(re.match(r"_(?!_)", word) for word in words):
                yield ast.unparse(node)


def test_nothing_private_of_another_is_used():
    assert {f"{file}: {part}" for file, text in FILES.items() for part in private_parts(text)} == PRIVATE


@pytest.mark.parametrize(
    "line",
    ["torch.ops.mkldnn._pointwise(x)", "from torch._C import f", "from timm import _x", "net._modules", "a.b()._c"],
)
def test_private_parts_are_found(line):
    assert len(list(private_parts(line))) == 1


def test_docstrings_say_more_of_an_argument_than_how_or_where():
    found = sum(len(re.findall(r"^\s+\w+: (?:how|where)\.$", text, re.MULTILINE)) for text in FILES.values())
    assert found <= LAZY_ARGUMENTS


def test_tests_mirror_the_house():
    tests = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    tests -= {"test_house.py"}
    assert {test for test in tests if test.replace("test_", "", 1) not in FILES} == OF_SEVERAL_FILES
    rooms = {file.split("/")[0] for file in FILES if "/" in file}
    assert rooms == {test.split("/")[0] for test in tests if "/" in test}, "every room has tests"
