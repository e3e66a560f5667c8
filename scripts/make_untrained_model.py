"""An untrained MVAN as a model file: its answers mean nothing, its speed is that of a trained one.

python -m scripts.make_untrained_model --backbone resnet50 --out runs/bench-serve/resnet50.onnx
"""

import argparse
from pathlib import Path

import torch

from model_export.exporting.onnx_export import export_model
from model_export.network.mvan import MVAN, MVANConfig
from model_export.training.mnet_training import Restored, Source, Training


def untrained(backbone: str) -> Restored:
    """The paper's shape with seeded weights, as a checkpoint would give it."""
    torch.manual_seed(0)
    shape = MVANConfig(backbone=backbone)
    config = Training(
        out=Path("none.pt"), sources=(Source(data="none.csv"),), name=f"untrained-{backbone}", model=shape,
        vnet=Path("none.pt"),
    )  # fmt: skip
    return Restored(MVAN(shape).eval(), config, {}, ("nothing",), "nothing")


def main() -> None:
    """Write the file, with every branch for every crop: an untrained V-Net is sure of none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report = export_model(untrained(arguments.backbone), arguments.out, dense=True)
    print(f"{report.path}: {report.path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
