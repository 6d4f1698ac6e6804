"""The peer of a whole run: PyTorch trains the network of a run folder by the same recipe on the same images.

    pytorch_train.py RUN OUT --data FOLDER [--minutes M] [--mode eager|channels_last]

RUN is a run folder of `densenet train`, of which config.json is read; FOLDER holds the binary files of CIFAR-10; OUT becomes a folder that
`densenet report` reads, too. Random numbers are PyTorch's own, so that accuracies agree within their spread, not digit by digit. Two threads,
the evaluation is not counted. With --minutes training ends after the first epoch that is over then. What a recipe asks for and this program
does not know ends it with the option's name. PyTorch is no part of the project: install it in an environment of its own.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys
import time

import numpy
import torch
from torch.nn.functional import cross_entropy, pad

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "docs" / "pytorch"))
from densenet_cifar import DenseNet  # noqa: E402


def read(files):
    records = numpy.concatenate([numpy.fromfile(file, numpy.uint8).reshape(-1, 3073) for file in files])
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 0].astype(numpy.int64))


def rate(schedule, step, steps_per_epoch, epochs):
    """The learning rate of a step, by the definitions in Sources/Training/LearningRateSchedule.swift."""
    (shape, details), height = next(iter(schedule["shape"].items())), schedule["learningRate"]
    total, warm_up = epochs * steps_per_epoch, schedule["warmUpEpochs"] * steps_per_epoch
    if step < warm_up:
        return height * (step + 1) / warm_up
    if shape == "constant":
        return height
    if shape == "step":
        passed = sum(step // steps_per_epoch >= math.floor(m * epochs + 1e-9) for m in details["milestones"])
        return height * details["factor"] ** passed
    if shape == "cosine":
        return height / 2 * (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up)))
    if shape == "linear":
        return height * (total - step) / (total - warm_up)
    if shape == "triangle":
        top = total / 5
        return height * min((step + 1) / top, 1) if step < top else height * (total - step) / (total - top)
    sys.exit(f"the schedule {shape} is not known here")


def changes(text):
    """The crop's padding (0: no crop), and whether flips are drawn anew each epoch, alternate, or are left out."""
    padding, flips = 0, None
    for word in text.split(","):
        name, _, number = word.partition(":")
        if name == "crop":
            padding = int(number or 4)
        elif name in ("flip", "alternating-flip"):
            flips = name
        elif name != "none":
            sys.exit(f"the augmentation {word} is not known here")
    return padding, flips


class Batches:
    """Training images as float batches: shuffled, cropped, flipped, then normalized by the channels of the training set."""

    def __init__(self, images, labels, config, seed):
        self.images, self.labels, self.seed = images, labels, seed
        self.padding, self.flips = changes(config["augment"])
        self.sides = torch.randint(0, 2, (len(images),), generator=torch.Generator().manual_seed(seed)).bool()
        values = images.float().div_(255).permute(1, 0, 2, 3).reshape(3, -1)
        self.mean, self.deviation = (x.view(1, 3, 1, 1) for x in (values.mean(1), values.std(1)))

    def normalized(self, images):
        return (images.float() / 255 - self.mean) / self.deviation

    def epoch(self, epoch, size):
        random = torch.Generator().manual_seed(1000 * self.seed + epoch)
        sides = self.sides if self.flips == "alternating-flip" else torch.rand(len(self.images), generator=random) < 0.5
        for chosen in torch.randperm(len(self.images), generator=random).split(size):
            images = self.images[chosen]
            if self.padding:
                rows, columns = torch.randint(0, 2 * self.padding + 1, (2, len(chosen)), generator=random)
                padded = pad(images, [self.padding] * 4).unfold(2, 32, 1).unfold(3, 32, 1)
                images = padded[torch.arange(len(chosen)), :, rows, columns]
            if self.flips:
                mirrored = sides[chosen] != (self.flips == "alternating-flip" and epoch % 2 == 0)
                images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
            yield self.normalized(images), self.labels[chosen]


@torch.inference_mode()
def evaluate(model, batches, images, labels, layout, with_mirror=False):
    model.eval()
    loss, right, right_mirrored = 0.0, 0, 0
    for batch, truth in zip(images.split(500), labels.split(500)):
        batch = batches.normalized(batch).to(memory_format=layout)
        logits = model(batch)
        loss += cross_entropy(logits, truth, reduction="sum").item()
        right += (logits.argmax(1) == truth).sum().item()
        if with_mirror:
            right_mirrored += ((logits + model(batch.flip(3))).argmax(1) == truth).sum().item()
    model.train()
    return loss / len(images), right / len(images), right_mirrored / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--mode", default="channels_last", choices=["eager", "channels_last"])
    options = parser.parse_args()
    config = json.loads((options.run / "config.json").read_text())
    if config["network"]["stem"] != "cifar" or config["network"]["dropout"] or "channel" not in config["normalization"]:
        sys.exit("only CIFAR stems without dropout, with images normalized by channel, are known here")
    unknown = [name for name in ("imageSchedule", "steps", "baseBatch", "classWeights", "earlyStop") if config.get(name)]
    unknown += [name for name in ("limitTrain", "limitTest") if config["data"].get(name)]
    unknown += [name for name in ("freeze", "learningRateOf") if config.get("fineTuning", {}).get(name)]
    if unknown or not config["shuffle"] or "globalBatch" not in config["statistics"]:
        sys.exit(f"what is not known here: {', '.join(unknown) or 'images in their order, batch statistics of a part'}")
    if config.get("ema"):
        print("left out: the moving average of the weights")
    layout = torch.channels_last if options.mode == "channels_last" else torch.contiguous_format

    torch.manual_seed(config["seed"])
    images, labels = read(sorted(options.data.glob("data_batch_*.bin")))
    test_images, test_labels = read([options.data / "test_batch.bin"])
    batches = Batches(images, labels, config, config["seed"])
    model = DenseNet(config["network"])
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = config["normMomentum"]
    model = model.to(memory_format=layout)
    sgd = config["optimizer"]
    decayed = [p for p in model.parameters() if p.dim() > 1 or sgd["decaysNorms"]]
    others = [p for p in model.parameters() if p.dim() <= 1 and not sgd["decaysNorms"]]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": sgd["weightDecay"]}, {"params": others, "weight_decay": 0.0}],
        lr=0.1, momentum=sgd["momentum"], nesterov=sgd["nesterov"])

    options.out.mkdir(parents=True)
    shutil.copy(options.run / "config.json", options.out / "config.json")
    epochs, size = config["epochs"], config["batchSize"]
    steps_per_epoch, step, seconds = -(-len(images) // size), 0, 0.0
    for epoch in range(1, epochs + 1):
        began, loss_sum, right = time.perf_counter(), 0.0, 0
        for batch, truth in batches.epoch(epoch, size):
            for group in optimizer.param_groups:
                group["lr"] = rate(config["schedule"], step, steps_per_epoch, epochs)
            logits = model(batch.to(memory_format=layout))
            loss = cross_entropy(logits, truth, label_smoothing=config["labelSmoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            loss_sum += loss.item() * len(truth)
            right += (logits.argmax(1) == truth).sum().item()
        elapsed = time.perf_counter() - began
        seconds += elapsed
        is_last = epoch == epochs or seconds > 60 * options.minutes
        began = time.perf_counter()
        test_loss, accuracy, mirrored = evaluate(model, batches, test_images, test_labels, layout, with_mirror=is_last)
        line = {
            "epoch": epoch, "image": 32, "learning_rate": optimizer.param_groups[0]["lr"], "train_loss": loss_sum / len(images),
            "train_accuracy": right / len(images), "test_loss": test_loss, "test_accuracy": accuracy, "epoch_seconds": elapsed,
            "images_per_second": len(images) / elapsed, "evaluation_seconds": time.perf_counter() - began,
            "data_wait_seconds": 0, "checkpoint_wait_seconds": 0,
        }
        with open(options.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")
        print(f"epoch {epoch}, {seconds / 60:.1f} min: test {100 * accuracy:.2f} %, {len(images) / elapsed:.1f} images/s", flush=True)
        if is_last:
            print(f"with flip: {100 * mirrored:.2f} %")
            break


if __name__ == "__main__":
    main()
