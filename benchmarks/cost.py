"""What a step of the fit has to do, counted from its settings and sizes.

Conventions. Work is that of the way there and of the way back together; ``there`` are the points
of the first, ``back`` those of the second: samples that light reaches. Numbers are float32. An
operation is one addition, multiplication, division or comparison; an exponential and its like are
`EXP` of them, as the compiled kernels have it. Bytes are those that a part is given or hands on,
each moved once, as if all in between stayed in the processor. Not counted: the draw of matches,
frame codes, and what is done once for a pair. So nothing can be faster than what follows from it.
"""

from typing import NamedTuple

from omnimotion.config import Config
from omnimotion.losses import SUBSET
from omnimotion.step_draws import LOST_POINTS

NUMBER = 4  # bytes
EXP = 16  # operations
BACK = 2  # a product's way back is two products: for what it was given and for its weights

# operations for each point and layer, as `omnimotion.kernels.couplings` does them
LOCATE, WEIGHTS, VALUES, COUPLE = 10, 5, 14, EXP + 2
SLOPES, COUPLE_BACK, SCATTER = 22, EXP + 13, 5 + 16
CAMERA, CAMERA_BACK, UNITS = 8, 24, 3
LOCATE_3, LERPS, LERPS_BACK, SCATTER_3 = 15, 21, 45, 24  # `kernels.volume`; two for each feature
ADAM = 14  # for each parameter
LEVEL_2D, LEVEL_3D = 8, 16  # for each number of a coarser grid's sum with a finer one
WEIGH, WEIGH_BACK = EXP + 3, 4  # a sample's weight on its ray
FLOW, FLOW_BACK = EXP + 8, 8  # a sample's flow loss
APART = 10  # distortion, for each two samples of a ray


class Work(NamedTuple):
    """What is to be done, or what a machine does in a second."""

    matrix: float = 0.0  # operations in products of matrices
    plain: float = 0.0  # other operations
    bytes: float = 0.0
    motion_reads: float = 0.0  # of a motion grid's cell: 4 corners of 2 numbers
    motion_adds: float = 0.0  # to those
    volume_reads: float = 0.0  # of a volume's cell: 8 corners of 8 numbers
    volume_adds: float = 0.0


class Step(NamedTuple):
    """The points of a step."""

    pairs: int
    points: int
    samples: int
    lost: int = LOST_POINTS
    consistency: bool = True
    occlusion: bool = True
    distortion: bool = False
    lit: float = 1.0  # of all samples, the share that light reaches

    @property
    def main(self) -> int:
        """Samples of the matched points' rays."""
        return self.pairs * self.points * self.samples

    @property
    def followed(self) -> float:
        """Those that light reaches: their colour is asked, and they are carried to frame j."""
        return self.lit * self.main

    @property
    def subset(self) -> int:
        """Pairs that some terms look at."""
        return max(1, self.pairs // SUBSET)

    @property
    def rendered(self) -> int:
        """Samples of all rays: a subset's in frame j, and two for each point without a match."""
        there = self.consistency * self.subset * self.points * self.samples
        lost = self.occlusion * 2 * self.subset * self.lost * self.samples
        return self.main + there + lost

    @property
    def carried(self) -> float:
        """Points through the maps: what is rendered, to frame j, and surfaces to three frames."""
        return self.rendered + self.followed + self._surfaces

    @property
    def carried_back(self) -> float:
        """Points whose gradients come back through the maps."""
        return self.lit * self.rendered + self.followed + self._surfaces

    @property
    def _surfaces(self) -> int:
        return self.subset * (3 * self.points + self.occlusion * self.lost)


class Grids(NamedTuple):
    """Sizes of a scene of grids."""

    frames: int
    basis: int  # cosines in time
    layers: int
    table: int  # numbers of a frame's motion grids, the levels summed
    levels: int
    coefficients: int  # numbers of all levels
    volume: int  # numbers of the canonical grid, the levels summed
    volume_levels: int
    volume_coefficients: int
    channels: int
    hidden: int
    parameters: int


class Networks(NamedTuple):
    """Sizes of the paper's networks."""

    layers: int
    inputs: int  # of a layer's network: encoded places and a frame's code
    width: int
    depth: int  # hidden layers
    volume_width: int
    volume_depth: int
    parameters: int


def step_of(config: Config) -> Step:
    """The points of a step by its settings."""
    fit, loss = config.fit, config.loss
    return Step(
        fit.pairs, fit.points, fit.samples, LOST_POINTS, bool(loss.depth_consistency),
        bool(loss.occlusion), bool(loss.distortion),
    )  # fmt: skip


def seconds(work: Work, a_second: Work) -> float:
    """The least time: that of what takes longest, with all else done meanwhile."""
    return max(amount / rate for amount, rate in zip(work, a_second))


def bound(work: Work, a_second: Work) -> str:
    """What takes longest."""
    times = [amount / rate for amount, rate in zip(work, a_second)]
    return Work._fields[times.index(max(times))]


def total(parts: dict[str, Work]) -> Work:
    """The work of all parts."""
    return Work(*(sum(amounts) for amounts in zip(*parts.values())))


def grid_parts(step: Step, grids: Grids) -> dict[str, Work]:
    """The work of a step with grids, by part."""
    return {
        "motion tables": motion_tables(grids),
        "couplings, cameras": couplings(step.carried, step.carried_back, grids),
        "volume table": volume_table(grids),
        "volume reads": volume_reads(step.rendered, step.lit * step.rendered, grids),
        "decoder": decoder(step, grids.channels, grids.hidden),
        "compositing, losses": compositing(step),
        "optimiser": optimiser(grids.parameters),
    }


def network_parts(step: Step, networks: Networks) -> dict[str, Work]:
    """The work of a step with the paper's networks, by part."""
    return {
        "coupling networks": coupling_networks(step.carried, networks),
        "colour network": colour_network(step.rendered, networks),
        "compositing, losses": compositing(step),
        "optimiser": optimiser(networks.parameters),
    }


def motion_tables(grids: Grids) -> Work:
    """Levels summed, times the time basis, the log-scales bounded."""
    rows, summed = grids.frames * grids.table, grids.basis * grids.table
    product = grids.frames * summed  # two operations each, of a half: frames mirror one another
    return Work(
        matrix=2 * product,  # back for the coefficients alone: the basis is fixed
        plain=2 * LEVEL_2D * (grids.levels - 1) * summed + 2 * rows + (EXP + 6) * rows / 2,
        bytes=NUMBER * (2 * grids.coefficients + 3 * rows),  # bounding reads its result again
    )


def couplings(there: float, back: float, grids: Grids) -> Work:
    """Points through all layers of a map and its camera."""
    layer = LOCATE + WEIGHTS + VALUES + COUPLE
    layer_back = LOCATE + SLOPES + COUPLE_BACK + SCATTER
    plain = there * (grids.layers * layer + CAMERA + 3 * UNITS)
    # there: 3 in, 3 out, and what each layer keeps; back: both, 3 in and 3 out
    moved = there * (6 + grids.layers) + back * (6 + grids.layers + 3)
    return Work(
        plain=plain + back * (grids.layers * layer_back + CAMERA_BACK + 3 * UNITS),
        bytes=NUMBER * (moved + grids.frames * grids.table),
        motion_reads=(there + back) * grids.layers, motion_adds=back * grids.layers,
    )  # fmt: skip


def volume_table(grids: Grids) -> Work:
    """Levels of the volume, summed."""
    return Work(
        plain=2 * LEVEL_3D * (grids.volume_levels - 1) * grids.volume,
        bytes=NUMBER * 2 * (grids.volume_coefficients + grids.volume),
    )


def volume_reads(there: float, back: float, grids: Grids) -> Work:
    """Features at canonical points."""
    plain = there * (LOCATE_3 + LERPS * grids.channels)
    plain += back * (LOCATE_3 + 3 + (LERPS_BACK + SCATTER_3) * grids.channels)
    moved = there * (3 + grids.channels) + back * (grids.channels + 3 + 3)
    cells = grids.channels / 8
    return Work(
        plain=plain, bytes=NUMBER * (moved + grids.volume),
        volume_reads=(there + back) * cells, volume_adds=back * cells,
    )  # fmt: skip


def decoder(step: Step, channels: int, hidden: int) -> Work:
    """Features to density, and of the matched points' samples that light reaches to colour."""
    back, colour = step.lit * step.rendered, step.followed
    products = (step.rendered + BACK * back) * (channels * hidden + hidden)
    products += (1 + BACK) * colour * 3 * hidden
    plain = (step.rendered + back) * hidden + (step.rendered + 3 * colour) * (EXP + 7)
    return Work(
        matrix=2 * products, plain=plain,
        bytes=NUMBER * (step.rendered * (channels + 1) + back * (2 * channels + 1) + 6 * colour),
    )  # fmt: skip


def compositing(step: Step) -> Work:
    """Weights along rays, what they weigh, and the losses of samples."""
    main, apart = step.followed, step.distortion * step.followed * step.samples
    # of the main rays colour and two places are weighed; one of others
    weighed = 9 * main + step.lit * step.rendered
    return Work(
        plain=(step.rendered * (WEIGH + WEIGH_BACK) + 6 * weighed + main * (FLOW + FLOW_BACK)
               + APART * apart),
        bytes=NUMBER * (9 * step.rendered + 12 * main),
    )  # fmt: skip


def optimiser(parameters: int) -> Work:
    """Adam: a parameter, its gradient and two moments in, the gradient twice; all but it out."""
    return Work(plain=ADAM * parameters, bytes=NUMBER * 8 * parameters)


def coupling_networks(points: float, networks: Networks) -> Work:
    """Points through a network for each layer; what is hidden is kept for the way back."""
    width = networks.width
    products = networks.inputs * width + (networks.depth - 1) * width**2 + width * 2
    kept = networks.inputs + networks.depth * width
    return Work(
        matrix=(1 + BACK) * 2 * points * networks.layers * products,
        plain=points * networks.layers * 4 * networks.depth * width,
        bytes=NUMBER * 2 * points * networks.layers * kept,
    )


def colour_network(samples: float, networks: Networks) -> Work:
    """Canonical points through Gabor filters, each a wave and a bell of all places."""
    width, depth = networks.volume_width, networks.volume_depth
    filters = (depth + 1) * width
    products = 2 * 3 * filters + depth * width**2 + width * 4
    return Work(
        matrix=(1 + BACK) * 2 * samples * products,
        plain=samples * filters * (2 * EXP + 8),
        bytes=NUMBER * 2 * samples * 2 * filters,
    )
