"""Makes a golden file: what PyTorch computes, in float64, for a DenseNet of docs/pytorch/densenet_cifar.py.

    python3 Tests/golden.py OUT.safetensors CONFIG      CONFIG as in Sources/GoldenFiles/Golden/README.md, without seed and margin

Needs torch, numpy and safetensors. Tries seeds in their order until no input of a ReLU comes closer to zero than `MARGIN` in any step.
"""
import json
import sys
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save_file
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs/pytorch"))
import densenet_cifar  # noqa: E402

MARGIN = 1e-5
CAMEL = {"stem_channels": "stemChannels", "stem_stride": "stemStride", "growth_rate": "growthRate", "growth_rates": "growthRates"}


def tensors_of(network, prefix):
    return {prefix + name: value.float().numpy().copy() for name, value in network.state_dict().items()
            if not name.endswith("num_batches_tracked")}


def grouped(network, images, size):
    """The logits of groups of images, each normalized by its own statistics; the running ones move once, by their mean."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    sums = [[torch.zeros_like(values) for values in pair] for pair in before]
    logits = []
    for group in images.split(size):
        for norm, (mean, variance) in zip(norms, before):
            norm.running_mean, norm.running_var = mean.clone(), variance.clone()
        logits.append(network(group))
        for norm, (mean, variance) in zip(norms, sums):
            mean += norm.running_mean * len(group) / len(images)
            variance += norm.running_var * len(group) / len(images)
    for norm, (mean, variance) in zip(norms, sums):
        norm.running_mean, norm.running_var = mean, variance
    return torch.cat(logits)


def case(config, seed):
    """The tensors of a file, and the smallest distance of a ReLU's input from zero."""
    torch.manual_seed(seed)
    network = densenet_cifar.DenseNet({CAMEL.get(key, key): value for key, value in config.items()})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.6, 1.4)
            torch.nn.init.uniform_(module.bias, -0.4, 0.4)
    network.double()  # exact: what follows is in float64, from numbers that float32 has
    images = torch.randn(config["batch"], 3, config["image"], config["image"]).double()
    labels = torch.randint(0, config["classes"], (config["batch"],))
    margins = []

    def relu(x):
        margins.append(x.detach().abs().min().item())
        return torch.relu(x)

    densenet_cifar.relu = relu
    tensors = {"input": images.float().numpy(), "labels": labels.numpy(), **tensors_of(network, "initial.")}
    optimizer = torch.optim.SGD(network.parameters(), config["lr"], config["momentum"], nesterov=config["nesterov"],
                                weight_decay=config["weight_decay"])
    losses = []
    for step in range(1, config["steps"] + 1):
        optimizer.zero_grad()
        logits = grouped(network, images, config.get("statistics_group", len(images)))
        loss = cross_entropy(logits, labels)
        loss.backward()
        losses.append(loss.item())
        if step == 1:
            tensors["logits"] = logits.detach().float().numpy()
            tensors |= {f"grad.{name}": value.grad.float().numpy() for name, value in network.named_parameters()}
        optimizer.step()
        if step in (1, config["steps"]):
            tensors |= tensors_of(network, f"after{step}.")
    network.eval()
    with torch.no_grad():
        tensors["eval_logits"] = network(images).float().numpy()
    tensors["losses"] = numpy.array(losses, numpy.float32)
    return {name: numpy.ascontiguousarray(value) for name, value in tensors.items()}, min(margins)


def main():
    out, config = sys.argv[1], json.loads(sys.argv[2])
    for seed in range(1, 10_000):
        tensors, margin = case(config, seed)
        if margin >= MARGIN:
            text = json.dumps(config | {"seed": seed, "margin": margin})
            save_file(tensors, out, {"config": text})
            print(text)
            return
    sys.exit("no seed keeps the margin")


main()
