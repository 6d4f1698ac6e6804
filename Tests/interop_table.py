"""The table of checks that Tests/interop.sh prints."""
import importlib

failed = False


def define_operators():
    """Lets torchvision be imported beside a torch of another build, where its own operators (two for boxes) do not load."""
    try:
        import torch

        for operator in ["nms", "qnms"]:
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    except (ImportError, RuntimeError):
        pass


def row(check, name, result):
    print(f"{check:44} {name:12} {result}", flush=True)


def check(text, packages, names, body):
    """Calls body(name, packages…) for each name; what cannot be imported is a row that says so."""
    global failed
    for name in names:
        try:
            modules = [importlib.import_module(package) for package in packages]
        except (ImportError, RuntimeError) as error:
            row(text, name, f"skipped: {error}")
            continue
        try:
            row(text, name, body(name, *modules))
        except Exception as error:
            failed = True
            row(text, name, f"FAILED: {type(error).__name__}: {error}")
