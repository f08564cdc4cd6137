"""The compiled kernels (`omnimotion.kernels`) on torch tensors, on a CPU.

Where a scene is fused (`Scene.fused`), the fit takes its tables, its step and its optimizer from
here, with their gradients, and queries their maps and rays, without. Plain PyTorch says what each
means, and does it on a GPU.
"""
