# SPDX-License-Identifier: Apache-2.0
"""What a folder holds, by the official safetensors package."""
import pathlib

from safetensors.torch import load_file


def tensors(folder):
    """name -> tensor, of all safetensors files."""
    return {k: v for path in sorted(pathlib.Path(folder).glob("*.safetensors")) for k, v in load_file(path).items()}
