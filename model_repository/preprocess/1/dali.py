"""Read serving/pictures/pipelines.py: the pipeline that the DALI backend serialises in the profile `container`."""

from nvidia.dali.plugin.triton import autoserialize

from serving.pictures import pipelines

preprocess = autoserialize(pipelines.preprocess)
