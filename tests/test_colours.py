"""Colours of tracks: told apart, of like lightness, or ordered by depth."""

import cv2
import numpy as np

from omnimotion.colours import depth_colours, flow_colours, query_colours


def test_colours_tell_queries_apart_and_keep_a_narrow_lightness():
    x, y = np.meshgrid(np.linspace(10, 150, 10), np.linspace(10, 110, 4))
    queries = np.column_stack((np.zeros(40), x.ravel(), y.ravel())).astype(np.float32)
    colours = query_colours(queries)
    assert len(np.unique(colours, axis=0)) == 40
    lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(40)
    assert distances.min() > 3  # a just noticeable difference is 2.3
    assert lab[:, 0].min() > 55
    assert lab[:, 0].max() < 90


def test_near_is_brighter_than_far_and_far_still_seen():
    depth = np.linspace(-0.3, 0.8, 60, dtype=np.float32).reshape(6, 10)
    colours = depth_colours(depth)
    assert (colours.shape, colours.dtype) == ((6, 10, 3), np.uint8)
    lab = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness = lab[..., 0].ravel()
    assert (np.diff(lightness) < 0.5).all()
    assert lightness[0] > 90
    assert lightness[-1] > 18


def test_one_depth_and_none_have_colours_too():
    assert len(np.unique(depth_colours(np.zeros((3, 4))).reshape(-1, 3), axis=0)) == 1
    assert depth_colours(np.zeros((0, 4))).shape == (0, 4, 3)


def test_rest_is_white_and_every_direction_has_its_colour():
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    around = np.stack((np.cos(turn), np.sin(turn)), -1)
    colours = flow_colours(np.concatenate((0 * around[:1], 5 * around, 50 * around)), 10.0)
    assert (colours[0] >= 253).all()
    assert len(np.unique(colours, axis=0)) == 17
    spread = np.ptp(colours.astype(int), axis=-1)
    assert (spread[9:] > spread[1:9]).all()  # faster is stronger
    assert (flow_colours(100 * around, 10.0) == flow_colours(10 * around, 10.0)).all()
