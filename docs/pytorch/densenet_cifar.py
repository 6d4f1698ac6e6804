"""The DenseNets that densenet trains on CIFAR (arXiv 1608.06993), with or without bottlenecks, in PyTorch.

    network, normalize = load("runs/first/weights.safetensors")
    logits = network(normalize(images))    # float, [N, channels, height, width], in 0...1
"""
import json
from collections import OrderedDict

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import avg_pool2d, relu


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth, bottleneck):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth if bottleneck else growth, 1 if bottleneck else 3,
                               padding=0 if bottleneck else 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth) if bottleneck else None
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False) if bottleneck else None

    def forward(self, x):
        new = self.conv1(relu(self.norm1(x)))
        return torch.cat([x, new if self.norm2 is None else self.conv2(relu(self.norm2(new)))], 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x):
        return avg_pool2d(self.conv(relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        channels, stride, blocks = config["stemChannels"], config.get("stemStride", 1), config["blocks"]
        stem = nn.Conv2d(config.get("imageChannels", 3), channels, 3, stride, padding=1, bias=False)
        self.features = nn.Sequential(OrderedDict(conv0=stem))
        growths = config.get("growthRates") or [config["growthRate"]] * len(blocks)
        for b, (count, growth) in enumerate(zip(blocks, growths), 1):
            if b > 1:
                outputs = int(config["compression"] * channels)
                self.features.add_module(f"transition{b - 1}", Transition(channels, outputs))
                channels = outputs
            layers = {f"denselayer{i + 1}": DenseLayer(channels + i * growth, growth, config["bottleneck"])
                      for i in range(count)}
            self.features.add_module(f"denseblock{b}", nn.Sequential(OrderedDict(layers)))
            channels += count * growth
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, config["classes"])

    def forward(self, x):
        return self.classifier(relu(self.features(x)).mean((2, 3)))


def load(path):
    with safe_open(path, "pt") as file:
        config, norm = (json.loads(file.metadata()[key]) for key in ("config", "normalization"))
    network = DenseNet(config)
    network.load_state_dict(load_file(path), strict=True)
    mean, std = (torch.tensor(norm[key]).view(-1, 1, 1) for key in ("mean", "std"))
    pixel_mean = torch.tensor(norm.get("pixelMean") or 0.0)
    pixel_mean = pixel_mean.view(-1, config["image"], config["image"]) if pixel_mean.dim() else pixel_mean
    return network.eval(), lambda images: (images - mean) / std - pixel_mean
