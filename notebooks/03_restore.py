# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Restore your own picture
#
# `daair.restore` takes a PIL image, an array or a batch of tensors, and gives back the same kind. For files,
# `python run.py task=restore checkpoint=RUN input=IMAGE_OR_DIR output=DIR` does the same and keeps their metadata.
#
# Needs a run: `make demo` makes one in a few minutes.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageOps

import daair
from daair.data import degradations
from daair.data.images import read_rgb
from daair.data.sources import Photographs
from daair.metrics import PROTOCOLS

RUN = Path(os.environ.get("DAAIR_RUN") or next(Path("../runs/demo").glob("*/seed*")))  # or a .safetensors file
IMAGE = os.environ.get("DAAIR_IMAGE")  # your picture; without one a photograph of scikit-image, with noise on it
DEGRADATION = os.environ.get("DAAIR_DEGRADATION")  # only for a network that must be told (router=oracle)
LARGEST = int(os.environ.get("DAAIR_SIDE", "768"))  # pictures are made smaller than this, in pixels

# %% [markdown]
# ## The network

# %%
model = daair.load(RUN)
count = sum(parameter.numel() for parameter in model.parameters())
print(f"{count / 1e6:.2f} M parameters, after {model.step} updates, trained on: {', '.join(model.labels)}")

# %% [markdown]
# ## The picture

# %%
clean = None
if IMAGE:
    picture = ImageOps.exif_transpose(Image.open(IMAGE)).convert("RGB")
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    degraded = np.asarray(picture)
else:
    ((_, file),) = Photographs(["coffee"]).pictures()
    clean = np.ascontiguousarray(read_rgb(file)[:LARGEST, :LARGEST])
    degraded = degradations.noise(clean, np.random.default_rng(0), sigma=25)
degraded.shape

# %% [markdown]
# ## Restore
#
# Any size works: the network pads to a multiple of 8 and cuts the result back.

# %%
model = model.to("cuda" if torch.cuda.is_available() else "cpu")
restored = daair.restore(model, degraded, DEGRADATION)

# %%
shown = {"input": degraded, "restored": restored} | ({} if clean is None else {"clean": clean})
figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 5), layout="constrained")
for axis, (name, image) in zip(axes, shown.items(), strict=True):
    if clean is not None and name != "clean":
        name = f"{name}: {PROTOCOLS['promptir'].psnr(image, clean):.2f} dB"
    axis.imshow(image)
    axis.set_title(name)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# What was taken away, four times as strong: it should look like the degradation, not like the picture.

# %%
figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
axis.imshow(np.clip(0.5 + 4 * (degraded / 255 - restored / 255), 0, 1))
axis.set_axis_off()
plt.show()

# %% [markdown]
# ## Keep it

# %%
OUTPUT = os.environ.get("DAAIR_OUTPUT")  # e.g. restored.png
if OUTPUT:
    Image.fromarray(restored).save(OUTPUT)
