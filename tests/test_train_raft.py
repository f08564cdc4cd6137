"""Training of RAFT: it learns, it goes on where it was stopped, and its weights can be used."""

import hashlib
import math
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omnimotion.config import Parser, add_settings, checked_settings
from omnimotion.errors import (
    CheckpointError,
    ConfigError,
    FitDiverged,
    FlowError,
    Interrupted,
)
from omnimotion.files import read_archive, write_archive
from omnimotion.history import read_metrics
from omnimotion.images import load_image
from omnimotion.signals import StopSignal
from omnimotion.synthetic.pairs import Pairs
from preprocess import raft_weights
from preprocess.methods import choose_estimator
from preprocess.options import PreprocessOptions
from preprocess.raft_network import RaftNetwork
from preprocess.raft_weights import checksum_path, find_weights
from preprocess.train_raft.__main__ import main
from preprocess.train_raft.export import export
from preprocess.train_raft.held_out import held_out_pairs, score
from preprocess.train_raft.loop import train
from preprocess.train_raft.settings import RaftSettings, rate
from preprocess.train_raft.training import Training, draw_pairs, error_px, sequence_loss

pytestmark = pytest.mark.usefixtures("full_reports")

CONFIGS = Path(__file__).parents[1] / "configs"
CPU = torch.device("cpu")
TINY = RaftSettings(
    width=128, height=128, layers=1, solids=0, supersample=1, max_gap=4.0, steps=4, batch=1,
    updates=2, held_out=2, validate_every=2, log_every=1, device="cpu", checkpoint_minutes=1e6,
)  # fmt: skip
FILES = ("state.npz", "best.npz", "metrics.jsonl", "flow/00000004.png")


def fresh(run, settings=TINY, stop=None):
    run.mkdir(exist_ok=True)
    return train(run, settings, CPU, stop or StopSignal(), time.perf_counter())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training of four steps."""
    run = tmp_path_factory.mktemp("raft") / "whole"
    fresh(run)
    return run


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """They take longer than all the rest; `trained`, which is made before this, has them."""
    monkeypatch.setattr("preprocess.train_raft.loop.plot_metrics", lambda lines, path: None)


def contents(run):
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in FILES}


# learning ---------------------------------------------------------------------------------------


def test_it_learns_what_it_has_never_seen(trained):
    batches = held_out_pairs(TINY, CPU)
    untrained = score(Training(TINY, CPU), batches)
    _, meta = read_archive(trained / "best.npz")
    assert meta["held_out_px"] < 0.8 * untrained.all_px
    assert untrained.still_px > 0.1


def test_the_score_is_the_mean_end_point_error():
    training, batches = Training(TINY, CPU), held_out_pairs(TINY, CPU)
    found = score(training, batches)
    errors, shown = [], []
    for pairs in batches:
        with torch.no_grad():
            flow = training.flows(pairs)[-1].numpy()
        errors.append(np.hypot(*(flow - pairs.flow.numpy())[0]))
        shown.append(pairs.visible[0].numpy())
    errors, shown = np.array(errors), np.array(shown)
    assert found.all_px == pytest.approx(errors.mean(), rel=1e-5)
    assert found.visible_px == pytest.approx(errors[shown].mean(), rel=1e-5)


def test_held_out_pairs_are_the_same_each_time_and_no_training_pair():
    one, again = (held_out_pairs(TINY, CPU) for _ in range(2))
    assert all(torch.equal(a.first, b.first) for a, b in zip(one, again))
    drawn = draw_pairs(TINY, 1, torch.Generator().manual_seed(0))
    assert not any(torch.equal(drawn.first, pairs.first) for pairs in one)


def test_later_updates_count_more_and_far_flow_does_not():
    truth = torch.zeros(1, 2, 4, 4)
    flows = [truth + 1, truth + 3]
    assert sequence_loss(flows, truth, TINY).item() == pytest.approx(0.8 * 1 + 3)
    far = truth.clone()
    far[:, 0] = 1000.0
    assert sequence_loss(flows, far, TINY) == 0


def test_the_end_point_error_is_a_length():
    truth = torch.zeros(1, 2, 2, 2)
    pairs = Pairs(truth, truth, truth, truth[:, 0] > 0)
    flow = torch.tensor([3.0, 4.0])[None, :, None, None].expand(1, 2, 2, 2)
    assert (error_px(flow, pairs) == 5).all()


def test_the_rate_is_one_cycle():
    settings = replace(TINY, steps=100, warmup=0.1, learning_rate=1.0)
    rates = [rate(settings, step) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10:] == pytest.approx(np.arange(90, 0, -1) / 90)
    assert rate(settings, 100) == 0


def test_half_precision_is_nearly_the_same():
    """What a GPU does by default, on a CPU."""
    found = [Training(replace(TINY, precision=each), CPU).advance()["loss"]
             for each in ("float32", "bfloat16")]  # fmt: skip
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_gradients_that_are_not_finite_change_nothing_and_end_the_training(monkeypatch):
    training = Training(TINY, CPU)
    before = [each.clone() for each in training.module.parameters()]

    def broken(flows, truth, settings):
        return flows[-1].sum() * math.nan

    monkeypatch.setattr("preprocess.train_raft.training.sequence_loss", broken)
    monkeypatch.setattr("preprocess.train_raft.training.MAX_SKIPPED", 1)
    training.advance()
    with pytest.raises(FitDiverged, match="learning_rate"):
        training.advance()
    assert all(torch.equal(a, b) for a, b in zip(before, training.module.parameters()))


# going on ---------------------------------------------------------------------------------------


def test_after_a_signal_it_goes_on_to_the_same_bytes(trained, tmp_path, monkeypatch):
    stop, advance = StopSignal(), Training.advance

    def stopping(self):
        line = advance(self)
        stop.number = signal.SIGTERM if self.step == 2 else 0
        return line

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", stopping)
        with pytest.raises(Interrupted) as caught:
            fresh(tmp_path / "run", stop=stop)
    assert caught.value.exit_code == 143
    fresh(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(trained)


def test_after_a_kill_it_goes_on_to_the_same_bytes(trained, tmp_path, monkeypatch):
    advance = Training.advance

    def dying(self):
        if self.step == 3:
            raise MemoryError
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", dying)
        with pytest.raises(MemoryError):
            fresh(tmp_path / "run", replace(TINY, checkpoint_minutes=0.0))
    _, meta = read_archive(tmp_path / "run" / "state.npz")
    assert meta["step"] == 3
    fresh(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(trained)


def test_a_budget_that_is_over_saves_and_leaves(tmp_path):
    began = time.perf_counter() - 100
    training = train(tmp_path, replace(TINY, budget="60s"), CPU, StopSignal(), began)
    assert training.step == 0
    assert (tmp_path / "state.npz").is_file()


def test_a_complete_training_does_nothing_more(trained):
    before = contents(trained)
    assert fresh(trained).step == 4
    assert contents(trained) == before


def test_a_state_of_other_settings_is_refused(trained):
    with pytest.raises(ConfigError, match="batch = 1, not 2"):
        fresh(trained, replace(TINY, batch=2))


def test_damaged_and_foreign_states_are_refused(trained, tmp_path):
    data = (trained / "state.npz").read_bytes()
    for number, other in enumerate((data[:1000], b"", data.replace(b"weights.", b"waights."))):
        run = tmp_path / str(number)
        run.mkdir()
        (run / "state.npz").write_bytes(other)
        with pytest.raises(CheckpointError, match=r"state\.npz"):
            fresh(run)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    write_archive(foreign / "state.npz", {}, {"kind": "other"})
    with pytest.raises(CheckpointError, match="no training of RAFT"):
        fresh(foreign)


def test_curves_and_pictures_are_written(trained):
    lines = read_metrics(trained / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"held_out_px", "held_out_visible_px", "rate"} <= lines[-1].keys()
    assert load_image(trained / "loss.png").std() > 1
    assert load_image(trained / "flow" / "00000004.png").shape == (2 * 128, 5 * 128, 3)


# settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("raft_*.txt")), ids=lambda path: path.name)
def test_every_file_is_valid_and_says_what_it_is_for(path):
    parser = Parser()
    add_settings(parser, {"training": RaftSettings})
    checked_settings(RaftSettings, vars(parser.parse_args(["--config", str(path)])))
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("words", "found"),
    [(["--width", "130"], "multiple of 8"), (["--height", "64"], "128"),
     (["--smaples", "1"], "sma"), (["--budget", "soon"], "budget"),
     (["--config", "none.txt"], "none.txt")],
)  # fmt: skip
def test_bad_settings_are_refused(tmp_path, words, found):
    with pytest.raises(ConfigError, match=found):
        main(["--run", str(tmp_path / "run"), *words])
    assert not (tmp_path / "run").exists()


# weights ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "new" / "rendered.npz"
    export(trained, path)
    return path


def test_the_exported_file_is_small_and_loads_as_the_best_weights(trained, exported):
    assert exported.stat().st_size < 2_200_000
    line = checksum_path(exported).read_text()
    assert line == f"{hashlib.sha256(exported.read_bytes()).hexdigest()}  rendered.npz\n"
    weights = find_weights("large", exported, is_required=True)  # the file knows better
    assert weights.model == "small"
    best, _ = read_archive(trained / "best.npz")
    for name, value in RaftNetwork(weights, CPU).module.state_dict().items():
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value.numpy(), best[name], rtol=1e-3, atol=1e-7)


def test_a_file_of_a_training_is_raft(exported, tmp_path):
    options = PreprocessOptions(
        tmp_path / "v", tmp_path / "s", raft_weights=exported, device="cpu"
    )
    estimator = choose_estimator(options, lambda t: np.zeros((32, 32, 3), np.uint8), None)
    assert estimator.info["model"] == "raft_small"
    assert estimator.info["licence"].startswith("Apache-2.0")
    assert estimator.pair(0, 1, None).forward.shape == (32, 32, 2)


def test_rendered_weights_that_are_not_there_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(raft_weights, "RENDERED_PATH", tmp_path / "none.npz")
    options = PreprocessOptions(tmp_path / "v", tmp_path / "s", raft_model="rendered")
    with pytest.raises(FlowError, match=r"none\.npz is missing.*--flow dis"):
        choose_estimator(options, lambda t: np.zeros((32, 32, 3), np.uint8), None)


def test_rendered_weights_are_checked_against_their_checksum(exported, tmp_path, monkeypatch):
    path = tmp_path / "raft_rendered.npz"
    path.write_bytes(exported.read_bytes())
    monkeypatch.setattr(raft_weights, "RENDERED_PATH", path)
    with pytest.raises(FlowError, match="sha256"):
        find_weights("rendered", None, is_required=True)
    checksum_path(path).write_text(checksum_path(exported).read_text())
    assert find_weights("rendered", None, is_required=True).model == "small"
    data = bytearray(exported.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(FlowError, match="damaged"):
        find_weights("rendered", None, is_required=True)


def test_other_archives_are_no_weights(tmp_path):
    meta = {"kind": "omnimotion-raft", "format": 1, "model": "small"}
    cases = {
        "other.npz": ({}, {"kind": "tracks"}),
        "nan.npz": ({"a": np.array([math.nan], np.float32)}, meta),
        "whole.npz": ({"a": np.array([1])}, meta),
    }
    for name, (arrays, found) in cases.items():
        write_archive(tmp_path / name, arrays, found)
        with pytest.raises(FlowError, match=name):
            find_weights("small", tmp_path / name, is_required=True)
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(FlowError, match=r"torn\.npz"):
        find_weights("small", tmp_path / "torn.npz", is_required=True)


def test_nothing_to_export_is_said(tmp_path):
    with pytest.raises(FlowError, match=r"best\.npz"):
        export(tmp_path, tmp_path / "out.npz")
    assert not list(tmp_path.iterdir())
