"""Holds exported weights against the real packages: interop.py DENSENET FOLDER, for Tests/interop.sh.

FOLDER has what ExportTestProgram writes: weights, 64 images and the logits of this program.
"""
import os
import subprocess
import sys

import interop_table
from interop_table import check

program, folder = sys.argv[1:]
networks = ["bc", "plain", "strided", "grey", "densenet121"]
tolerance = 1e-4
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "docs", "pytorch"))


def weights(name):
    return f"{folder}/{name}.safetensors"


def values(name):
    from safetensors.numpy import load_file

    return load_file(f"{folder}/{name}.values.safetensors")


def export(name, form, out):
    out = f"{folder}/{name}.{out}"
    subprocess.run([program, "export", "--to", form, out, "--weights", weights(name)], check=True,
                   stdout=subprocess.DEVNULL)
    return out


def logits(name, ours):
    """Compares logits with this program's."""
    difference = float(abs(ours - values(name)["logits"]).max())
    assert difference <= tolerance, f"logits differ by {difference:.1e}, more than {tolerance:.0e}"
    return f"ok, largest difference of {len(ours)} images' logits {difference:.1e}"


def npz(name, numpy, safetensors):
    arrays = dict(numpy.load(export(name, "npz", "npz")))
    expected = safetensors.load_file(weights(name))
    for key, value in expected.items():
        assert numpy.array_equal(arrays.pop(key), value), key
    assert all(key.startswith("normalization.") for key in arrays), sorted(arrays)
    return f"ok, {len(expected)} arrays equal; also {', '.join(sorted(arrays))}"


def onnx_checker(name, onnx):
    model = onnx.load(export(name, "onnx", "onnx"))
    onnx.checker.check_model(model, full_check=True)
    return f"ok, opset {model.opset_import[0].version}, IR {model.ir_version}, {len(model.graph.node)} nodes"


def onnxruntime(name, onnxruntime):
    session = onnxruntime.InferenceSession(export(name, "onnx", "onnx"), providers=["CPUExecutionProvider"])
    colours = values(name)["colours"]
    result = logits(name, session.run(None, {"image": colours})[0])
    single = session.run(["logits"], {"image": colours[:1]})[0]
    assert single.shape[0] == 1
    return result


def torch_load(name, torch, safetensors):
    path = export(name, "pytorch", "pth")
    state = torch.load(path, weights_only=True)
    expected = safetensors.load_file(weights(name))
    counters = [key for key in state if key.endswith(".num_batches_tracked")]
    assert state.keys() - set(counters) == expected.keys()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert all(torch.equal(value, state[key]) for key, value in torch.load(path, weights_only=True, mmap=True).items())
    return f"ok, {len(expected)} tensors equal, {len(counters)} num_batches_tracked; mmap too"


def torchvision(name, torch, torchvision):
    network = torchvision.models.densenet121()
    network.load_state_dict(torch.load(export(name, "pytorch", "pth"), weights_only=True), strict=True)
    with torch.no_grad():
        return logits(name, network.eval()(torch.from_numpy(values(name)["images"])).numpy())


def timm_folder(name, torch, timm):
    network = timm.create_model(f"local-dir:{export(name, 'timm', 'timm')}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return logits(name, network((torch.from_numpy(values(name)["colours"]) - mean) / std).numpy())


def densenet_cifar(name, torch, densenet_cifar):
    network, normalize = densenet_cifar.load(weights(name))
    state = torch.load(export(name, "pytorch", "pth"), weights_only=True)
    network.load_state_dict(state, strict=True)
    with torch.no_grad():
        return logits(name, network(normalize(torch.from_numpy(values(name)["colours"]))).numpy())


interop_table.define_operators()
check("npz: numpy.load", ["numpy", "safetensors.numpy"], networks, npz)
check("onnx: onnx.checker", ["onnx"], networks, onnx_checker)
check("onnx: onnxruntime", ["onnxruntime"], networks, onnxruntime)
check("pytorch: torch.load(weights_only=True)", ["torch", "safetensors.torch"], networks, torch_load)
check("pytorch: torchvision, strict", ["torch", "torchvision"], ["densenet121"], torchvision)
check("timm: create_model('local-dir:…')", ["torch", "timm"], ["densenet121"], timm_folder)
check("docs/pytorch/densenet_cifar.py, strict", ["torch", "densenet_cifar"], ["bc", "plain", "strided", "grey"], densenet_cifar)
sys.exit(interop_table.failed)
