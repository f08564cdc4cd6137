"""The commands of ``omnimotion``: one module each, with ``add_arguments`` and ``main``."""
