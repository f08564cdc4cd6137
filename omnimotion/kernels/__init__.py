"""Compiled loops for a CPU (numba): grid couplings and the canonical volume, with their gradients.

Nothing here knows torch; `omnimotion.fused` makes differentiable functions of them. They must
agree with the plain PyTorch in `bijection` and `volume`, which says what they mean.
"""
