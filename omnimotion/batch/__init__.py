"""Many videos: each through preprocess, train and query, in processes of their own.

Convention. A batch is a folder: ``scenes/NAME``, ``tracks/NAME.npz``, ``logs/NAME.log`` and
``results/NAME.json`` of each video, and the summary of all. What is done is told by the files
alone, so that any number of machines that share the folder can work on it.
"""
