"""The peer: PyTorch on the CPU, training (or evaluating) the same networks on the same batch.

    pytorch_peer.py MODEL BATCH STEPS [--mode eager|channels_last|compile] [--ranks N] [--bf16] [--evaluate]

MODEL is one of bc-100-12, 40-12, 121-32 (DenseNet-121 with its ImageNet stem on 32×32 images) and 121-224. Prints the median in the
form of `densenet bench`, so that the two can be read alike. PyTorch is no part of the project: install it in an environment of its own.
"""

import argparse
import os
import resource
import statistics
import time

import torch
import torch.distributed
import torch.nn.functional as functional
from torch import nn


class DenseLayer(nn.Module):
    """BN, ReLU, 1×1 to 4k, BN, ReLU, 3×3 to k; without bottleneck BN, ReLU, 3×3."""

    def __init__(self, channels, growth_rate, bottleneck):
        super().__init__()
        width = 4 * growth_rate if bottleneck else channels
        self.bottleneck = bottleneck
        self.norm1 = nn.BatchNorm2d(channels)
        if bottleneck:
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)

    def forward(self, features):
        new = functional.relu(self.norm1(features), inplace=True)
        if self.bottleneck:
            new = functional.relu(self.norm2(self.conv1(new)), inplace=True)
        return torch.cat([features, self.conv2(new)], 1)


def network(blocks, growth_rate, imagenet_stem, bottleneck, classes):
    channels = 2 * growth_rate if bottleneck else 16
    if imagenet_stem:
        layers = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    else:
        layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for index, count in enumerate(blocks):
        for _ in range(count):
            layers.append(DenseLayer(channels, growth_rate, bottleneck))
            channels += growth_rate
        if index + 1 < len(blocks):
            kept = channels // 2 if bottleneck else channels
            layers += [nn.BatchNorm2d(channels), nn.ReLU(True), nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(2)]
            channels = kept
    layers += [nn.BatchNorm2d(channels), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)


MODELS = {
    "bc-100-12": (lambda: network([16] * 3, 12, False, True, 10), 32),
    "40-12": (lambda: network([12] * 3, 12, False, False, 10), 32),
    "121-32": (lambda: network([6, 12, 24, 16], 32, True, True, 10), 32),
    "121-224": (lambda: network([6, 12, 24, 16], 32, True, True, 1000), 224),
}


def train(rank, options):
    if options.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
        torch.distributed.init_process_group("gloo", rank=rank, world_size=options.ranks)
        torch.set_num_threads(1)
    torch.manual_seed(0)
    make, size = MODELS[options.model]
    model = make()
    count = options.batch // options.ranks
    images, labels = torch.randn(count, 3, size, size), torch.randint(0, 10, (count,))
    if options.mode != "eager":
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
    if options.evaluate:
        model.eval()
    if options.ranks > 1 and not options.evaluate:
        model = nn.parallel.DistributedDataParallel(model)
    if options.mode == "compile":
        model = torch.compile(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    seconds = []
    for _ in range(options.steps + 2):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            if options.evaluate:
                with torch.inference_mode():
                    model(images)
            else:
                loss = functional.cross_entropy(model(images), labels)
        if not options.evaluate:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - began)
    if rank == 0:
        rate = options.batch / statistics.median(seconds[2:])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{rate:.1f} images/s  (PyTorch {torch.__version__}, {options.model}, batch {options.batch}, {options.ranks} ranks, "
            f"{options.mode}{', bf16' if options.bf16 else ''}{', evaluation' if options.evaluate else ''}, peak {memory:.0f} MiB)",
            flush=True,
        )
    if options.ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("batch", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("--mode", default="eager", choices=["eager", "channels_last", "compile"])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--evaluate", action="store_true")
    options = parser.parse_args()
    if options.ranks > 1:
        torch.multiprocessing.spawn(train, (options,), options.ranks)
    else:
        train(0, options)
