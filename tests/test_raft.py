"""RAFT: our forward against torchvision's, small frames, weights from files that lie."""

import logging
import pickle
import urllib.error

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from omnimotion.errors import ConfigError, FlowError
from preprocess import raft_weights
from preprocess.methods import choose_estimator
from preprocess.options import PreprocessOptions
from preprocess.raft import RaftEstimator, RaftNetwork, choose_device, padded
from preprocess.raft_weights import find_weights


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = raft_small(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def weights(weights_file):
    return find_weights("small", weights_file, is_required=True)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    calls = []

    def refuse(url, timeout):
        calls.append(timeout)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(raft_weights.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return calls


def options(tmp_path, **changes):
    return PreprocessOptions(tmp_path / "video", tmp_path / "scene", **changes)


def frames(size, count=3):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(count)]
    return images.__getitem__


def test_forward_equals_torchvision(weights):
    network = RaftNetwork(weights, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, 3, 128, 136, generator=generator) * 2 - 1
    reference = raft_small(weights=None)
    reference.load_state_dict(weights.state)
    with torch.no_grad():
        expected = reference.eval()(first, second, num_flow_updates=3)[-1]
    flow, coarse = network.flow(network.encode(first), network.encode(second), updates=3)
    torch.testing.assert_close(flow, expected, atol=1e-4, rtol=1e-4)
    assert coarse.shape == (1, 2, 16, 17)


def test_warm_start_is_where_the_iteration_begins(weights):
    network = RaftNetwork(weights, torch.device("cpu"))
    one = network.encode(torch.zeros(1, 3, 128, 128))
    start = torch.full((1, 2, 16, 16), 0.5)
    _, unmoved = network.flow(one, one, start, updates=0)
    assert torch.allclose(unmoved, start)
    _, from_zero = network.flow(one, one, None, updates=2)
    _, from_zeros = network.flow(one, one, torch.zeros_like(start), updates=2)
    assert torch.equal(from_zero, from_zeros)


@pytest.mark.parametrize("size", [(65, 49), (16, 16)])
def test_small_and_odd_frames_give_finite_flow_of_their_size(weights, size):
    estimator = RaftEstimator(frames(size), weights, "cpu")
    first = estimator.pair(0, 1, None)
    assert first.forward.shape == (size[1], size[0], 2)
    assert first.coarse is not None
    second = estimator.pair(0, 2, first.coarse)
    for flow in (first.forward, first.backward, second.forward):
        assert np.isfinite(flow).all()


def test_a_frame_looks_like_itself(weights):
    estimator = RaftEstimator(frames((40, 32)), weights, "cpu")
    x, y = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(32, dtype=np.float32))
    pixels = np.s_[:32, :40]
    known = np.ones(x.shape, bool)
    known[3, 5] = False
    np.testing.assert_array_equal(estimator.alike(0, pixels, 0, (x, y), known), known)
    assert estimator.alike(0, pixels, 1, (x, y), known).mean() < 0.5


def test_padding_is_a_multiple_of_8_from_128_on():
    assert [padded(side) for side in (16, 128, 129, 480, 854)] == [128, 128, 136, 480, 856]


def test_building_leaves_the_global_generator_alone(weights):
    before = torch.get_rng_state()
    RaftNetwork(weights, torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_bad_weights_are_refused_and_execute_nothing(tmp_path, weights_file):
    torn = tmp_path / "torn.pth"
    torn.write_bytes(weights_file.read_bytes()[:100_000])
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    listed = tmp_path / "list.pth"
    torch.save([1, 2], listed)
    empty = tmp_path / "empty.pth"
    empty.write_bytes(b"")
    numbered, sparse = tmp_path / "numbered.pth", tmp_path / "sparse.pth"
    torch.save({1: torch.ones(2)}, numbered)
    torch.save({"a": torch.eye(2).to_sparse()}, sparse)
    for path in (torn, evil, listed, empty, numbered, sparse, tmp_path / "none.pth", tmp_path):
        with pytest.raises(FlowError, match=path.name):
            find_weights("small", path, is_required=True)
    assert not (tmp_path / "canary").exists()


def test_weights_of_another_network_are_refused(weights_file):
    weights = find_weights("large", weights_file, is_required=True)
    with pytest.raises(FlowError, match="do not fit raft_large"):
        RaftNetwork(weights, torch.device("cpu"))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "nan.pth"
    torch.save({"a": torch.tensor([float("nan")])}, path)
    with pytest.raises(FlowError, match="not finite"):
        find_weights("small", path, is_required=True)


def test_damaged_cache_is_refused(tmp_path, no_network):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    url = raft_weights.DEFAULT_WEIGHTS["small"].url
    (folder / url.rsplit("/", 1)[1]).write_bytes(b"something")
    with pytest.raises(FlowError, match="damaged"):
        find_weights("small", None, is_required=True)
    assert not no_network


def test_auto_without_weights_is_dis_and_says_so_once(tmp_path, no_network, caplog):
    with caplog.at_level(logging.INFO):
        estimator = choose_estimator(options(tmp_path), frames((32, 32)), None)
    assert estimator.info["method"] == "dis"
    assert "no route to host" in estimator.info["why"]
    assert len([r for r in caplog.records if "flow=dis" in r.getMessage()]) == 1
    assert no_network == [raft_weights.OPTIONAL_TIMEOUT_S]


def test_raft_without_weights_is_an_error(tmp_path, no_network):
    with pytest.raises(FlowError, match="--raft-weights, or use --flow dis"):
        choose_estimator(options(tmp_path, flow="raft"), frames((32, 32)), None)
    assert no_network == [raft_weights.REQUIRED_TIMEOUT_S]


def test_given_weights_mean_raft(tmp_path, weights_file, no_network):
    chosen = options(tmp_path, raft_weights=weights_file, raft_model="small", device="cpu")
    estimator = choose_estimator(chosen, frames((32, 32)), None)
    assert estimator.info["method"] == "raft"
    assert "small.pth sha256" in estimator.info["weights"]
    assert not no_network


def test_an_interrupted_job_keeps_its_method(tmp_path, no_network):
    recorded = {"method": "dis", "why": "asked for"}
    chosen = choose_estimator(options(tmp_path), frames((32, 32)), recorded)
    assert chosen.info["method"] == "dis"
    assert not no_network


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="device"):
        choose_device(name)
