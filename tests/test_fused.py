"""The compiled kernels agree with plain PyTorch: values, gradients, borders, any thread count."""

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

from omnimotion.compositing import FAINT, stratified_depths
from omnimotion.config import LossConfig, ModelConfig
from omnimotion.correspondences import Correspondences
from omnimotion.fused.adam import FusedAdam
from omnimotion.fused.queries import read_volume
from omnimotion.fused.threads import both, loop_threads, spread
from omnimotion.geometry import Frame
from omnimotion.kernels import ahead, cells, couplings, step
from omnimotion.losses import StepDepths
from omnimotion.optimizer import WARM_NORMS, FlooredAdam
from omnimotion.scene import Scene, Snapshot
from omnimotion.step_loss import step_loss

FRAMES, PAIRS, POINTS = 5, 8, 300
LANDS = torch.tensor(0.7)


def random(*shape, seed=0):
    """Float32 in [-1, 1]."""
    made = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=made) - 1


def scene(backend, frames=FRAMES, levels=2, channels=8):
    """A bijection far from the identity, cameras that turn, zoom and drift, a patchy volume."""
    t = torch.arange(frames) - 2.0
    cameras = torch.stack((1 + 0.05 * t, 0.1 * t, 0.2 * t, -0.1 * t), dim=-1)
    config = ModelConfig(cells=4, z_cells=8, levels=levels, volume_cells=13, volume_levels=levels,
                         volume_channels=channels)  # fmt: skip
    made = Scene(Frame(64, 48), cameras, config, backend, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k, parameter in enumerate(made.bijection.parameters()):
            parameter.add_(0.03 * random(*parameter.shape, seed=k))
        for k, level in enumerate(made.volume.levels):
            level.add_(0.3 * random(*level.shape, seed=k))
    return made


def assert_close(found, expected, share):
    """Equal to a share of the largest expected value, but for one value in a thousand.

    A point within rounding of the border of a cell may see the slope of the next one.
    """
    off = (found - expected).abs() / expected.abs().max()
    assert off.flatten().quantile(0.999) < share
    assert off.max() < 100 * share


class Threads:
    """Torch has so many threads inside, one afterwards."""

    def __init__(self, threads):
        self.threads = threads

    def __enter__(self):
        torch.set_num_threads(self.threads)

    def __exit__(self, *_):
        torch.set_num_threads(1)


def test_compiled_code_is_kept_until_any_of_the_files_changes(tmp_path):
    """numba looks at the file of a function alone, not at those it calls."""
    names = ("caller", "callee")
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"# {name}")
    stamp = cells._stamp(tmp_path)
    assert cells._stamp(tmp_path) == stamp
    (tmp_path / "callee.py").write_text("# another")
    assert cells._stamp(tmp_path) != stamp
    for made in (step.run, couplings.carry):
        assert made._cache._cache_file._source_stamp == cells.SOURCES


def test_code_kept_of_types_that_are_gone_is_compiled_anew(tmp_path, monkeypatch):
    """As of an earlier version, with a kind of tuple that this one does not have."""
    (tmp_path / "kept.py").write_text(
        "from typing import NamedTuple\n"
        "from omnimotion.kernels.cells import kernel\n"
        "class Old(NamedTuple):\n    a: int\n"
        "@kernel\ndef first(old):\n    return old.a + 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    kept = importlib.import_module("kept")
    assert kept.first(kept.Old(1)) == 2
    assert cells.is_kept(kept.first)
    old = kept.Old
    del kept.Old
    again = cells.kernel(kept.first.py_func)
    assert not cells.is_kept(again)
    assert again(old(2)) == 3


# queries --------------------------------------------------------------------------------------


@torch.no_grad()
def carried(made, inverse, dtype, seed=1):
    """Mapped points (P, M, 3)."""
    x = (1.4 * random(PAIRS, POINTS, 3, seed=seed)).to(dtype)
    at = made.at(torch.tensor([0, 3, 3, 4, 1, 0, 2, 3]))
    return at.inverse(x) if inverse else at.forward(x)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 2e-5), (torch.float64, 3e-6)], ids=str)
def test_maps_agree_with_double_precision(inverse, dtype, off):
    """What is given in double precision is mapped in it: 3e-6 is what exp is off, six times."""
    found = carried(scene("numba"), inverse, dtype)
    assert found.dtype == dtype
    expected = carried(scene("torch").double(), inverse, torch.float64)
    assert (found.double() - expected).abs().max() < off


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_the_number_of_threads_does_not_change_what_is_mapped(inverse):
    results = []
    for threads in (1, 3):
        with Threads(threads):
            results.append(carried(scene("numba"), inverse, torch.float32))
    assert torch.equal(*results)


def test_maps_have_gradients_where_they_are_asked_for():
    made = scene("numba")
    x = random(1, 5, 3).requires_grad_()
    made.at(torch.tensor([1])).forward(x).sum().backward()
    assert x.grad.abs().min() > 0
    with torch.no_grad():
        assert not made.at(torch.tensor([1])).forward(x).requires_grad


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("widths", [(8, 32, 4), (5, 7, 3)], ids=str)
def test_what_the_volume_shows_agrees_with_double_precision(widths, threads):
    n_in, n_hidden, n_out = widths
    places, grid = 1.2 * random(3001, 3), random(4, 6, 5, n_in, seed=1)
    first, second = random(n_hidden, n_in, seed=1), random(n_out, n_hidden, seed=2)
    with Threads(threads):
        found = read_volume(places, grid, first, second)
    features = F.grid_sample(
        grid.double().permute(3, 0, 1, 2)[None], places.double().view(1, 1, 1, -1, 3),
        padding_mode="border", align_corners=True,
    ).view(n_in, -1).T  # fmt: skip
    expected = torch.relu(features @ first.double().T) @ second.double().T
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


def test_what_is_not_a_number_spoils_what_is_read_of_it_and_nothing_beyond_the_grid_is_read():
    places = torch.tensor([(-0.9, -0.9, -0.9), (0.9, 0.9, 0.9), (torch.nan, 0.9, 0.9)])
    grid = random(4, 4, 4, 8)
    grid[0, 0, 0, 0] = torch.nan
    found = read_volume(places, grid, random(32, 8), random(4, 32, seed=2))
    assert found.isnan().any(dim=1).tolist() == [True, False, False]
    with torch.no_grad():
        x = torch.full((1, 4, 3), torch.nan)
        assert scene("numba").at(torch.tensor([2])).forward(x).isnan().all(-1).all()


# a step of the fit ----------------------------------------------------------------------------

ALL = {
    "flow": 1.0, "flow_gradient": 0.3, "photometric": 10.0, "photometric_gradient": 0.7,
    "smoothness": 0.4, "depth_consistency": 0.2, "occlusion": 0.5, "depth_range": 3.0,
    "depth_order": 0.6, "distortion": 0.8,
}  # fmt: skip
CONFIG = LossConfig(robust_px=4.0, per_sample=0.7, **{
    name: ALL[name] for name in ("smoothness", "depth_consistency", "occlusion", "distortion")
})  # fmt: skip


def matches(frames=FRAMES, points=12, lost=7, pairs=PAIRS + 1):
    """Pairs of frames with matches, some of them far beyond `robust_px`."""
    made = torch.Generator().manual_seed(3)
    i, j = torch.randint(frames, (2, pairs), generator=made)
    xy = 0.8 * random(pairs, points, 2, seed=4)
    return Correspondences(
        torch.arange(pairs), i, j, xy, xy + 0.05 * random(pairs, points, 2, seed=5),
        random(pairs, points, 3, seed=6).abs(), random(pairs, points, seed=7) > -0.5,
        random(pairs, points, seed=12).abs(), 0.8 * random(pairs, lost, 2, seed=8),
        random(pairs, seed=9).abs(),
    )  # fmt: skip


def stepped(made, batch, config=CONFIG, weights=ALL, samples=6, **given):
    """Loss, terms and gradients of a step."""
    depth_i = random(*batch.xy_i.shape[:2], seed=10)
    draws = torch.Generator().manual_seed(11)
    depths = StepDepths.drawn(batch, config, samples, draws)
    loss, terms = step_loss(made, config)(
        batch, weights, depths, LANDS, depth_i, **given
    )  # fmt: skip
    return loss, terms, {name: p.grad for name, p in made.named_parameters()}


def assert_equal_steps(found, expected):
    """Each loss, term and gradient, but for rounding."""
    (loss, terms, gradients), (expected_loss, expected_terms, expected_gradients) = found, expected
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    for name in terms._fields:
        torch.testing.assert_close(
            getattr(terms, name), getattr(expected_terms, name), rtol=1e-4, atol=1e-6,
            msg=name,
        )  # fmt: skip
    for name, gradient in gradients.items():
        assert expected_gradients[name].abs().max() > 0, name
        assert_close(gradient, expected_gradients[name], 1e-4)


@pytest.mark.parametrize("samples", [2, 16])
@pytest.mark.parametrize(("levels", "channels"), [(1, 8), (2, 8), (3, 5)])
def test_a_step_agrees_with_plain_pytorch(levels, channels, samples):
    found, expected = (
        stepped(scene(backend, levels=levels, channels=channels), matches(), samples=samples)
        for backend in ("numba", "torch")
    )
    for name in found[1]._fields:
        assert float(getattr(found[1], name).min()) > 0, name
    assert_equal_steps(found, expected)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("robust_px", [0.0, 1.5])
def test_a_step_may_say_what_is_robust(backend, robust_px):
    given = stepped(scene(backend), matches(), robust_px=robust_px)
    expected = stepped(scene(backend), matches(), replace(CONFIG, robust_px=robust_px))
    assert given[0] == expected[0] != stepped(scene(backend), matches())[0]


@pytest.mark.parametrize("term", [name for name in ALL if name not in ("distortion",)])
def test_the_gradient_of_each_term_agrees_with_plain_pytorch(term):
    weights = {name: weight * (name == term) for name, weight in ALL.items()}
    found, expected = (
        stepped(scene(backend), matches(), weights=weights)[2] for backend in ("numba", "torch")
    )
    for name, gradient in found.items():
        reference = expected[name]
        if reference is None:
            assert not gradient.any(), name
        else:
            assert_close(gradient, reference, 1e-4)


def test_the_flow_loss_can_be_that_of_expected_places_and_without_a_bound():
    config = LossConfig(robust_px=0.0, per_sample=0.0, smoothness=0.0, depth_consistency=0.0,
                        occlusion=0.0)  # fmt: skip
    weights = ALL | {"distortion": 0.0}
    assert_equal_steps(*(
        stepped(scene(backend), matches(), config, weights) for backend in ("numba", "torch")
    ))  # fmt: skip


def test_two_frames_have_no_acceleration():
    batch = matches(frames=2)
    found, expected = (stepped(scene(backend, frames=2), batch) for backend in ("numba", "torch"))
    assert float(found[1].smoothness) == 0
    assert_equal_steps(found, expected)


def test_a_process_of_its_own_compiles_what_a_step_calls():
    """Else a fit would compile it once more, and keep the memory that takes."""
    assert ahead.compile_apart() == ""
    assert cells.is_kept(step.run)
    stepped(scene("numba"), matches())
    assert step.run.signatures == [ahead.SIGNATURE]


@pytest.mark.parametrize("python", ["/nothing/there", "/bin/false"])
def test_where_no_process_can_compile_the_first_step_does(monkeypatch, python):
    monkeypatch.setattr("sys.executable", python)
    said = ahead.compile_apart()
    assert ("No such file" in said) if "nothing" in python else said == "exit code 1"


def test_the_number_of_threads_does_not_change_a_step():
    batch = matches(points=40)
    results = []
    for threads in (1, 3):
        with Threads(threads):
            results.append(stepped(scene("numba"), batch, samples=16))
    assert_equal_steps(*results)


def test_the_parts_of_a_step_add_up(monkeypatch):
    """What processes render each is all of it."""
    whole, parts = stepped(scene("numba"), matches()), []
    for rank in range(3):
        monkeypatch.setattr(Snapshot, "part", (rank, 3))
        parts.append(stepped(scene("numba"), matches()))
    for name in ("lands", "flow", "occlusion"):
        found = sum(float(getattr(terms, name)) for _, terms, _ in parts)
        assert found == pytest.approx(float(getattr(whole[1], name)), rel=1e-5)
    assert sum(float(loss) for loss, _, _ in parts) == pytest.approx(float(whole[0]), rel=1e-5)
    for name, gradient in whole[2].items():
        assert_close(sum(gradients[name] for _, _, gradients in parts), gradient, 1e-4)


def opaque(backend):
    """A scene whose light mostly ends within a few samples."""
    made = scene(backend)
    made.volume.density_gain *= 30
    return made


@pytest.mark.parametrize("points", [12, 16, 1])
def test_what_no_light_reaches_does_not_count_in_either(points):
    batch = matches(points=points)
    z = stratified_depths(batch.xy_i.shape[:2], 16, None, batch.xy_i)
    with torch.no_grad():
        now = opaque("torch").snapshot()
        all_, counted = (now.render(now.at(batch.i), batch.xy_i, z, faint) for faint in (0, FAINT))
    assert 0.2 < counted.counts.float().mean() < 0.8
    assert not counted.weights[~counted.counts].any()
    assert (counted.weights.sum(-1) - 1).abs().max() < 2 * FAINT
    assert (counted.rgb - all_.rgb).abs().max() < 2 * FAINT
    assert_equal_steps(*(
        stepped(opaque(backend), batch, samples=16) for backend in ("numba", "torch")
    ))  # fmt: skip


@pytest.mark.parametrize("where", ["xy_i", "xy_j", "rgb_i"])
def test_a_match_that_is_not_a_number_spoils_the_loss(where):
    batch = matches()
    getattr(batch, where)[2, 3, 1] = torch.nan
    assert stepped(scene("numba"), batch)[0].isnan()


@pytest.mark.parametrize("name", ["bijection.levels.2.0", "volume.levels.1", "camera_shift"])
def test_a_parameter_that_is_not_a_number_spoils_the_loss(name):
    made = scene("numba")
    with torch.no_grad():
        made.get_parameter(name).fill_(torch.nan)
    assert stepped(made, matches())[0].isnan()


# the optimizer --------------------------------------------------------------------------------


def test_the_compiled_optimizer_takes_the_same_steps():
    """With sudden gradients, a parameter that has none, some that fade, and channels last."""
    shapes = {"grids": (3, 2, 5, 4), "volume": (1, 8, 3, 4, 5), "matrix": (60, 70), "idle": (3,),
              "last": (1, 8, 9, 10, 11), "odd": (2, 5, 3, 9, 11)}  # fmt: skip
    made = []
    for kind in (FlooredAdam, FusedAdam):
        named = {name: torch.nn.Parameter(random(*shape, seed=k))
                 for k, (name, shape) in enumerate(shapes.items())}  # fmt: skip
        for name in ("last", "odd"):
            named[name].data = named[name].data.contiguous(memory_format=torch.channels_last_3d)
        groups = [({"grids": named.pop("grids")}, 1.0), (named, 2.0)]
        made.append(kind(groups, 0.3, 1.5, frozenset({"grids"})))
    for count in range(2 * WARM_NORMS):
        for optimizer in made:
            for k, (parameters, _) in enumerate(optimizer.groups):
                for name, parameter in parameters.items():
                    sudden = 30.0 if count % 7 == 6 else 1.0
                    parameter.grad = sudden * random(*parameter.shape, seed=100 * count + k)
                    if name == "idle":
                        parameter.grad = None
            assert optimizer.step(count, 1e-2, fade=0.5)
    (plain, fused) = (optimizer.tensors() | optimizer.groups[0][0] | optimizer.groups[1][0]
                      for optimizer in made)  # fmt: skip
    for name, tensor in plain.items():
        torch.testing.assert_close(fused[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    start = random(3, 2, 5, 4)
    assert (fused["grids"] - start).abs().max() > 0.01


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_compiled_optimizer_skips_a_gradient_that_is_not_finite(value):
    parameter = torch.nn.Parameter(random(2, 3))
    optimizer = FusedAdam([({"one": parameter}, 1.0)], 0.3, 1.5)
    before = parameter.detach().clone()
    parameter.grad = random(2, 3)
    parameter.grad[1, 1] = value
    assert not optimizer.step(0, 1e-2)
    assert torch.equal(parameter.detach(), before)
    assert not any(tensor.any() for tensor in optimizer.tensors().values())


@pytest.mark.parametrize("threads", [1, 2])
def test_both_are_done_and_what_goes_wrong_is_raised(threads):
    done, names = [], []

    def act(name):
        names.append(threading.current_thread().name)
        done.append(name)

    def fail():
        raise KeyError

    with Threads(threads):
        both(lambda: act("first"), lambda: act("second"))
        for pair in ((fail, lambda: act("third")), (lambda: act("third"), fail)):
            with pytest.raises(KeyError):
                both(*pair)
    assert set(done[:2]) == {"first", "second"}
    assert len(set(names[:2])) == threads


def test_torch_has_its_threads_back_after_the_loops():
    torch.set_num_threads(3)
    try:
        with loop_threads():
            assert torch.get_num_threads() == 1
            with loop_threads():
                assert len(spread(lambda rows: rows, 3, 10_000)) == 3
        assert torch.get_num_threads() == 3
        with pytest.raises(KeyError), loop_threads():
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_threads_that_overlap_leave_torch_as_it_was():
    """The second begins while the first is inside, and is inside when the first has left."""
    found, inside, left = {}, threading.Event(), threading.Event()

    def second():
        with loop_threads():
            found["second"] = len(spread(lambda rows: rows, 3, 10_000))
            inside.set()
            left.wait(60)

    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as pool:
            with loop_threads():
                begun = pool.submit(second)
                assert inside.wait(60)
            left.set()
            begun.result()
            assert pool.submit(torch.get_num_threads).result() == 3
        assert (found["second"], torch.get_num_threads()) == (3, 3)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(1)
