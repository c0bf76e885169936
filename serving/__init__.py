"""Everything that runs in or around Triton.

pictures    encoded bytes -> checked, cropped, decoded: the only code that touches pixels before a network
faces       picture -> boxes and landmarks
classifier  face -> probability: the runtimes, and the graph that asks CLIP as well
streams     frames -> a verdict about each person: evidence, tracks, events
triton      the models of the Python backend, which host the rooms above
supervisor  finds or unpacks tritonserver, starts it, watches it, goes over to another version

Beside the rooms: `clip_ensemble` makes a repository with CLIP, `configs` reads pbtxt, `downloads` fetches weights.
"""
