"""Read serving/pictures/pipelines.py: the pipeline that the DALI backend serialises in the profile `container`."""

from nvidia.dali.plugin.triton import autoserialize

from serving.pictures.pipelines import preprocess  # not its module: DALI would find the pipeline there once more

autoserialize(preprocess)
