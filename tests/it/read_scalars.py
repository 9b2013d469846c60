"""Prints the scalars that TensorBoard finds in a folder: a JSON object a line, in its order."""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
for tag in tags["scalars"]:
    for event in events.Scalars(tag):
        print(json.dumps({"tag": tag, "step": event.step, "value": repr(event.value), "time": event.wall_time}))
for tag in tags["tensors"]:
    for event in events.Tensors(tag):
        value = float(make_ndarray(event.tensor_proto))
        print(json.dumps({"tag": tag, "step": event.step, "value": repr(value), "time": event.wall_time}))
