"""Trains torchvision's DenseNet-121 at 224 on a folder of pictures for some steps: pytorch_pictures.py FOLDER [STEPS [BATCH]].

Prints images/s and the share of the time that it waited for data, without the first three steps. One process of two threads,
channels_last, and a DataLoader with two workers: RandomResizedCrop, flip, ToTensor, Normalize.
"""
import os
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "Tests"))
import interop_table  # noqa: E402

interop_table.define_operators()
import torchvision  # noqa: E402
from torchvision import transforms  # noqa: E402

folder = sys.argv[1]
steps, batch = (int(word) for word in (sys.argv[2:] + ["20", "16"][len(sys.argv) - 2:])[:2])
torch.set_num_threads(2)
transform = transforms.Compose([
    transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
data = torchvision.datasets.ImageFolder(f"{folder}/train", transform)
loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, num_workers=2, drop_last=True)
network = torchvision.models.densenet121(num_classes=len(data.classes)).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
batches = iter(loader)
waited = began = 0.0
for step in range(steps + 3):
    if step == 3:
        waited, began = 0.0, time.perf_counter()
    before = time.perf_counter()
    images, labels = next(batches)
    waited += time.perf_counter() - before
    loss = torch.nn.functional.cross_entropy(network(images.to(memory_format=torch.channels_last)), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
seconds = time.perf_counter() - began
print(f"{steps * batch / seconds:.1f} images/s, waited {100 * waited / seconds:.2f} %")
