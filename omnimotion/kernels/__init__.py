"""Compiled loops for a CPU (numba): a fit's whole step, and what queries ask of a scene.

That is the draw of matches, sums of grids of several levels, couplings, the canonical volume along
rays, loss terms, the gradients of all these, and the optimizer. Nothing here knows torch;
`omnimotion.fused` calls them on its tensors. They must agree with the plain PyTorch of the modules
that they name, which says what they mean.
"""
