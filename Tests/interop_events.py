"""Reads the event files of runs with the real TensorBoard: interop_events.py DENSENET FOLDER, for Tests/interop.sh."""
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import interop_table
from interop_table import check

program, folder = sys.argv[1:]
steps_per_epoch = 16
network = ["--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "16"]
options = network + ["--limit-train", "256", "--limit-test", "64", "--batch-size", "16", "--epochs", "4",
                     "--learning-rate", "0.02", "--augment", "crop,flip,cutout", "--checkpoint-steps", "5"]
experiment, start, end = (f"_hparams_/{name}" for name in ["experiment", "session_start_info", "session_end_info"])


def train(*arguments):
    return subprocess.Popen([program, "train", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def whole_run():
    """Trained by one start."""
    run = f"{folder}/whole"
    assert train("--out", run, *options, "--seed", "2").wait() == 0
    return run


def resumed_run():
    """Stopped in its second epoch, resumed, killed in its third, resumed."""
    run = f"{folder}/resumed"
    for sent, code, arguments, line in [(signal.SIGTERM, 75, ["--out", run, *options], "Test loss"),
                                        (signal.SIGKILL, -9, ["--resume", run], "Test loss")]:
        job = train(*arguments)
        for text in job.stdout:
            if text.startswith(line):
                time.sleep(0.02)
                job.send_signal(sent)
                break
        assert job.wait() == code, f"the run ended with {job.returncode} instead of {code}"
    assert train("--resume", run).wait() == 0
    return run


def accumulated(name, accumulator):
    """All of a run, as TensorBoard's own reader has it."""
    events = accumulator.EventAccumulator(f"{runs[name]}/events", size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def metrics(name):
    with open(f"{runs[name]}/metrics.jsonl") as lines:
        return [json.loads(line) for line in lines]


def epochs(name, accumulator):
    events, lines = accumulated(name, accumulator), metrics(name)
    keys = sorted(lines[0].keys() - {"epoch"})
    tags = sorted(tag for tag in events.Tags()["scalars"] if tag.startswith("epoch/"))
    assert tags == [f"epoch/{key}" for key in keys], tags
    for key in keys:
        points = events.Scalars(f"epoch/{key}")
        assert [point.step for point in points] == [line["epoch"] for line in lines], key
        for point, line in zip(points, lines):
            expected = math.nan if line[key] is None else line[key]
            assert math.isclose(point.value, expected, rel_tol=1e-6) or math.isnan(point.value) and math.isnan(expected), key
    return f"ok, {len(keys)} numbers of {len(lines)} epochs equal metrics.jsonl"


def steps(name, accumulator):
    events, lines = accumulated(name, accumulator), metrics(name)
    for tag in ["loss", "accuracy", "learning_rate", "images_per_second", "data_wait_seconds"]:
        found = [point.step for point in events.Scalars(f"step/{tag}")]
        assert found == list(range(1, len(lines) * steps_per_epoch + 1)), f"{tag}: {found}"
    losses = [point.value for point in events.Scalars("step/loss")]
    for line in lines:
        own = losses[(line["epoch"] - 1) * steps_per_epoch:][:steps_per_epoch]
        assert math.isclose(sum(own) / len(own), line["train_loss"], rel_tol=1e-5)
    files = len(os.listdir(f"{runs[name]}/events"))
    return f"ok, {len(losses)} steps once each in {files} file{'s' * (files > 1)}, their mean losses equal metrics.jsonl"


def pictures(name, accumulator, pillow):
    import io

    events = accumulated(name, accumulator)
    sizes = []
    for tag, expected in [("training_images/augmented", [0]), ("epoch/confusion_matrix", [1, 2, 3, 4])]:
        images = events.Images(tag)
        assert [image.step for image in images] == expected, tag
        for image in images:
            decoded = pillow.open(io.BytesIO(image.encoded_image_string))
            decoded.load()
            assert decoded.mode == "RGB" and decoded.size == (image.width, image.height)
        sizes.append(f"{images[0].width}×{images[0].height}")
    return f"ok, decoded: {', '.join(sizes)}"


def parameters(name, accumulator, data, metadata):
    content = accumulated(name, accumulator).PluginTagToContent("hparams")
    assert sorted(content) == [experiment, end, start]
    names = [info.name for info in metadata.parse_experiment_plugin_data(content[experiment]).hparam_infos]
    values = metadata.parse_session_start_info_plugin_data(content[start]).hparams
    assert sorted(names) == sorted(values) and values["learningRate"].number_value == 0.02
    assert metadata.parse_session_end_info_plugin_data(content[end]).status == 1
    return f"ok, {len(names)} parameters, status success"


def served(name, tensorboard):
    """What the program `tensorboard` serves on loopback, with its fast loader or without."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1", "--port", str(port),
                               f"--load_fast={'true' if name == 'fast' else 'false'}"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for attempt in range(120):
            time.sleep(0.5)
            try:
                tags = asked(port, "scalars/tags")
            except (urllib.error.URLError, ConnectionError):
                continue
            if set(tags) == {"whole/events", "resumed/events"} and all(len(tags[run]) == 15 for run in tags):
                break
        else:
            raise AssertionError(f"the tags are {tags}")
        for run, path in runs.items():
            points = asked(port, f"scalars/scalars?run={run}/events&tag=step/loss")
            assert [point[1] for point in points] == list(range(1, 4 * steps_per_epoch + 1)), points
            images = asked(port, f"images/images?run={run}/events&tag=epoch/confusion_matrix&sample=0")
            assert [image["step"] for image in images][-1] == 4, images
        found = asked(port, "hparams/session_groups",
                      {"allowedStatuses": ["STATUS_SUCCESS"], "colParams": [], "startIndex": 0, "sliceSize": 9})
        groups = {group["name"]: group for group in found["sessionGroups"]}
        assert set(groups) == {"whole/events", "resumed/events"}, sorted(groups)
        assert all(group["hparams"]["batchSize"] == 16 and len(group["metricValues"]) == 4 for group in groups.values())
        return f"ok, {len(points)} points a run, pictures, {len(groups)} rows of parameters"
    finally:
        server.terminate()
        server.wait()


def asked(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/data/plugin/{path}",
                                     body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


accumulator = "tensorboard.backend.event_processing.event_accumulator"
try:
    import tensorboard  # noqa: F401

    runs = {"whole": whole_run(), "resumed": resumed_run()}
except ImportError:
    runs = {}
names = ["whole", "resumed"]
check("events: EventAccumulator, epochs", [accumulator], names, epochs)
check("events: EventAccumulator, steps", [accumulator], names, steps)
check("events: EventAccumulator, pictures", [accumulator, "PIL.Image"], names, pictures)
check("events: EventAccumulator, parameters",
      [accumulator, "tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard.plugins.hparams.metadata"], names, parameters)
check("events: tensorboard serves the runs", ["tensorboard"], ["fast", "python"], served)
sys.exit(interop_table.failed)
