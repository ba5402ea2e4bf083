"""`holdfast model attach`: the examples' models, as a person attaches them, and every file that is refused."""

import pickle
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.dummy import DummyRegressor
from sqlalchemy import Engine

from monitor.db.checks import Campaign, CheckRun
from monitor.db.engine import make_engine, transaction
from monitor.db.registry import Version, champion, model_named
from monitor.db.scratch import scratch_database
from tests.commands import Commands
from tests.streams import rows_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FLAGS = ("--time", "time", "--score", "score", "--target", "fraud", "--window", "1d", "--mutable", "amount")


@pytest.fixture(scope="module")
def holdfast(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with scratch_database(server_url) as url:
        yield Commands(url=url, home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def engine(holdfast: Commands) -> Iterator[Engine]:
    made = make_engine(holdfast.url)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """The folder that an example wrote; each is run once."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(EXAMPLES))
                patch.setattr(sys, "argv", [name, str(folders[name])])
                runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return folders[name]

    return run


@pytest.fixture
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("HOLDFAST_FACTORIES", '["own_model:build"]')


def _watch(holdfast: Commands, folder: Path, model: str, *flags: object) -> None:
    holdfast.well("watch", folder / "log.parquet", "--model", model, *FLAGS, *flags, "--once")


def _version(engine: Engine, model: str) -> Version:
    with transaction(engine) as session:
        return champion(session, model_named(session, model))


def _stress_runs(engine: Engine, model: str) -> list[str]:
    ours = _version(engine, model).id
    return [run.status for run in rows_of(engine, CheckRun) if run.kind == "stress" and run.version_id == ours]


@pytest.mark.slow
def test_pickled_pipeline_is_converted_once_and_its_next_windows_are_stress_tested(holdfast, made, engine):
    pytest.importorskip("skops", reason="needs the extra sklearn")
    folder = made("scikit_learn")
    _watch(holdfast, folder, "sk")
    assert _stress_runs(engine, "sk") == []
    said = holdfast.well("model", "attach", "sk", folder / "model.joblib", "--convert")
    assert "sk v1 has a sklearn artefact" in said
    assert "it scores 2,000 logged rows as the log says" in said
    assert "CAUTION" not in said
    version = _version(engine, "sk")
    assert version.manifest["provenance"]["equal_predictions_on_rows"] == 2_000
    assert all(path.read_bytes()[:1] != b"\x80" for path in (holdfast.home / "artifacts").glob("??/*"))
    stress = version.baseline["stress"]
    assert stress["robust_auc"] < stress["clean"]
    holdfast.well("watch", "--model", "sk", "--once")
    assert _stress_runs(engine, "sk") == ["ok"]
    assert [campaign.purpose for campaign in rows_of(engine, Campaign) if campaign.version_id == version.id] == ["tick"]


@pytest.mark.slow
def test_xgboost_model_is_attached_in_its_own_format(holdfast, made, engine):
    pytest.importorskip("xgboost", reason="needs the extra xgboost")
    folder = made("xgboost_native")
    _watch(holdfast, folder, "xgb")
    said = holdfast.well("model", "attach", "xgb", folder / "model.json")
    assert "xgb v1 has a xgboost artefact" in said
    assert "it scores 2,000 logged rows as the log says" in said
    assert _version(engine, "xgb").baseline["stress"]["level"] == "S2"
    assert "xgb" in holdfast.well("model", "list")


@pytest.mark.slow
def test_torch_factory_of_your_own_is_attached_with_its_weights(holdfast, made, engine, monkeypatch):
    folder = made("own_model")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (holdfast.home / "holdfast.toml").write_text((folder / "holdfast.toml").read_text())
    _watch(holdfast, folder, "own")
    weights = ("--factory", "own_model:build", "--weights", folder / "w.safetensors")
    said = holdfast.well("model", "attach", "own", *weights)
    assert "own v1 has a torch artefact" in said
    assert "it scores 2,000 logged rows as the log says" in said
    assert _version(engine, "own").manifest["factory"] == "own_model:build"
    answer = holdfast("model", "attach", "own", *weights)
    assert answer.code == 2
    assert "has a torch artefact already" in answer.err
    holdfast.well("watch", "--model", "own", "--once")
    assert _stress_runs(engine, "own") == ["ok"]


@pytest.fixture(scope="module")
def plain(holdfast: Commands, made) -> Path:
    """The folder of a model `plain` that is followed and has no artefact; refusals leave it so."""
    folder = made("own_model")
    _watch(holdfast, folder, "plain")
    return folder


def _refused(holdfast: Commands, engine: Engine, *arguments: object) -> str:
    answer = holdfast("model", "attach", "plain", *arguments)
    assert (answer.code, answer.out) == (2, ""), answer.err
    assert _version(engine, "plain").flavour == "none"
    return answer.err


def test_file_that_can_run_code_is_refused_with_what_to_do_instead(holdfast, plain, engine, tmp_path):
    torch.save(load_file(plain / "w.safetensors"), tmp_path / "model.pt")
    said = _refused(holdfast, engine, tmp_path / "model.pt")
    assert "It can run code" in said
    assert "safetensors.torch.save_file(model.state_dict(), 'w.safetensors')" in said
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    assert "holdfast model attach FILE --convert" in _refused(holdfast, engine, tmp_path / "model.pkl")
    (tmp_path / "model.bin").write_bytes(pickle.dumps({"a": 1}))
    assert "holds a pickle" in _refused(holdfast, engine, tmp_path / "model.bin")


def test_factory_that_nobody_allowed_or_that_is_not_there_is_refused(holdfast, plain, engine, monkeypatch):
    weights = ("--weights", plain / "w.safetensors")
    monkeypatch.setenv("HOLDFAST_FACTORIES", '["nowhere:build"]')
    said = _refused(holdfast, engine, "--factory", "os:system", *weights)
    assert 'add factories = ["os:system"] to holdfast.toml' in said
    assert "on PYTHONPATH" in _refused(holdfast, engine, "--factory", "nowhere:build", *weights)


@pytest.mark.usefixtures("examples_on_path")
def test_weights_of_another_network_are_refused(holdfast, plain, engine, tmp_path):
    weights = load_file(plain / "w.safetensors")
    save_file({**weights, "layers.0.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    said = _refused(holdfast, engine, "--factory", "own_model:build", "--weights", tmp_path / "w.safetensors")
    assert "the weights do not fit the network that own_model:build builds" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--factory", "own_model:build"), "either a FILE, or --factory"),
        (("--weights", "w.safetensors"), "--factory and --weights together"),
        (("w.safetensors", "--weights", "w.safetensors"), "either a FILE"),
        (("nothing.onnx",), "nothing.onnx"),
        (("w.safetensors",), "together with the factory"),
        (("w.safetensors", "--mutable", "amont"), "no feature 'amont'"),
    ],
    ids=["no weights", "no factory", "both", "no file", "weights alone", "unknown feature"],
)
def test_what_is_said_wrongly_is_answered_with_what_was_expected(
    holdfast, plain, engine, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(plain)
    assert sentence in _refused(holdfast, engine, *arguments)


def test_model_that_does_not_fit_schema_or_task_is_refused(holdfast, plain, engine, tmp_path, made):
    pytest.importorskip("skops", reason="needs the extra sklearn")
    joblib.dump(DummyRegressor().fit([[0.0]] * 4, [1.0, 2.0, 3.0, 4.0]), tmp_path / "values.joblib")
    said = _refused(holdfast, engine, tmp_path / "values.joblib", "--convert")
    assert "expected a model for classification, values.joblib holds one for regression" in said
    pytest.importorskip("xgboost", reason="needs the extra xgboost")
    assert "is_shop" in _refused(holdfast, engine, made("xgboost_native") / "model.json")


@pytest.mark.slow
@pytest.mark.usefixtures("examples_on_path")
def test_model_that_did_not_write_the_log_is_taken_with_a_caution(holdfast, made, engine, tmp_path):
    folder = made("own_model")
    holdfast.well("watch", folder / "log.parquet", "--model", "other", *FLAGS[:-2], "--once")
    weights = load_file(folder / "w.safetensors")
    save_file({name: -value if "layers.2" in name else value for name, value in weights.items()}, tmp_path / "w.st")
    answer = holdfast("model", "attach", "other", "--factory", "own_model:build", "--weights", tmp_path / "w.st")
    assert answer.code == 0, answer.err
    assert "CAUTION: its scores differ from the log's, by " in answer.out
    assert "CAUTION: no feature is declared mutable" in answer.out


@pytest.mark.slow
@pytest.mark.usefixtures("examples_on_path")
def test_features_are_declared_mutable_when_the_model_is_attached(holdfast, made, engine):
    folder = made("own_model")
    holdfast.well("watch", folder / "log.parquet", "--model", "late", *FLAGS[:-2], "--once")
    weights = ("--factory", "own_model:build", "--weights", folder / "w.safetensors")
    said = holdfast.well("model", "attach", "late", *weights, "--mutable", "amount,balance")
    assert "CAUTION" not in said
    stress = _version(engine, "late").baseline["stress"]
    assert stress["robust_auc"] < stress["clean"]
    assert any(text.startswith("amount") for text in stress["budget"])
    declared = _version(engine, "late").manifest["feature_schema"]["features"]
    assert [feature["name"] for feature in declared if feature["mutable"]] == ["amount", "balance"]
