# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the experts learned
#
# DaAIR sends each image to one of several experts in each of its learners. Did the routers learn to tell degradations
# apart, and does it matter which expert takes an image?
#
# Needs a run with experts: `make demo` makes one in a few minutes.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import daair
from daair.data import degradations
from daair.data.images import read_rgb
from daair.data.sources import Photographs
from daair.metrics import PROTOCOLS
from daair.metrics.information import normalised_mutual_information
from daair.models.router import Routing
from daair.report.figures.routing import last_routing, learner_names
from daair.runs.record import Record

RUN = Path(os.environ.get("DAAIR_RUN") or next(Path("../runs/demo").glob("*/seed*")))  # the folder of a run
SIDE = int(os.environ.get("DAAIR_SIDE", "256"))  # of the photographs, in pixels

# %% [markdown]
# ## At the end of training
#
# Each validation notes which share of each degradation's crops every expert took. The normalised mutual information
# (NMI) says in one number how much the expert tells about the degradation: 0 nothing, 1 everything. A router that
# always takes the same expert has 0, even where that expert works well.

# %%
record = Record(RUN)
metrics = record.metrics()
last = last_routing(metrics)
if last is None:
    raise SystemExit(f"{RUN} has no experts to look at")
step, labels, shares = last
model_config = record.config()["model"]
blocks = [str(model_config.get(f"{part}_blocks")) for part in ("encoder", "decoder")]
learners = learner_names(*blocks, len(shares))

figure, axes = plt.subplots(1, len(shares), figsize=(1.9 * len(shares), 2.6), layout="constrained", sharey=True)
for axis, share, name in zip(np.atleast_1d(axes), shares, learners, strict=True):
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_title(f"{name}\nNMI {normalised_mutual_information(share):.2f}", fontsize=9)
    axis.set_xticks(range(len(labels)), labels, rotation=60)
    axis.set_yticks(range(len(share)), range(1, len(share) + 1))
np.atleast_1d(axes)[0].set_ylabel("expert")
figure.colorbar(image, label="share of the images")
plt.show()

# %% [markdown]
# ## During training
#
# When do the routers specialise, and do they stay that way?

# %%
steps = [line["step"] for line in metrics if (line.get("routing/utilisation") or {}).get("learners")]
history = np.array(
    [
        [normalised_mutual_information(np.array(learner)) for learner in line["routing/utilisation"]["learners"]]
        for line in metrics
        if (line.get("routing/utilisation") or {}).get("learners")
    ]
)
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for i, name in enumerate(learners):
    axis.plot(steps, history[:, i], marker="o", label=name)
axis.set(xlabel="updates", ylabel="NMI of expert and degradation", ylim=(-0.02, 1.02))
axis.legend(fontsize=8, ncols=2)
plt.show()

# %% [markdown]
# ## One photograph, several degradations
#
# The same scene with noise, rain and haze: which expert takes it?

# %%
model = daair.load(RUN)
scenes = [read_rgb(file)[:SIDE, :SIDE] for _, file in Photographs(["astronaut", "chelsea", "coffee"]).pictures()]
WORSEN = {
    "noise, sigma 15": lambda image, rng: degradations.noise(image, rng, sigma=15),
    "noise, sigma 50": lambda image, rng: degradations.noise(image, rng, sigma=50),
    "rain": degradations.rain,
    "haze": degradations.haze,
}


def to_tensor(image):
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def restore(image):
    """The restored image and the gates of each learner and expert, (L, N)."""
    with torch.inference_mode():
        labels = torch.zeros(1, dtype=torch.long) if model.needs_labels else None
        result = model.routed(to_tensor(image), labels)
    return result.image[0].clamp(0, 1).permute(1, 2, 0).numpy(), result.gates[:, 0].numpy()


inputs = {name: [worsen(scene, np.random.default_rng(0)) for scene in scenes] for name, worsen in WORSEN.items()}
taken = pd.DataFrame(
    {
        name: [
            ", ".join(str(k + 1) for k in experts) for experts in np.array([restore(x)[1].argmax(1) for x in images]).T
        ]
        for name, images in inputs.items()
    },
    index=pd.Index(learners, name="expert with the largest gate, per scene"),
)
taken

# %% [markdown]
# ## Does the choice matter?
#
# Every learner is made to send everything to the same expert, with the weight that the router gave to its own choice.
# If the experts had learned the same, PSNR would not change; if routing helps, the router's own choice is the best.

# %%
psnr = PROTOCOLS["promptir"].psnr
routers = [module for name, module in model.named_modules() if name.endswith("router")]


def send_all_to(k):
    """Hooks that make every router choose expert `k`."""

    def forced(module, arguments, routing):
        weight = routing.gates.sum(dim=1, keepdim=True)
        index = torch.full((len(weight), 1), k)
        index_of_one = None if routing.index is None else index[:, 0]
        return Routing(index_of_one, torch.zeros_like(routing.gates).scatter(1, index, weight), routing.aux)

    return [router.register_forward_hook(forced) for router in routers]


def mean_psnr(images):
    return np.mean([psnr(restore(image)[0], scene) for image, scene in zip(images, scenes, strict=True)])


def mean_input(images):
    return np.mean([psnr(image, scene) for image, scene in zip(images, scenes, strict=True)])


results = {"input": {name: mean_input(images) for name, images in inputs.items()}}
results["router's choice"] = {name: mean_psnr(images) for name, images in inputs.items()}
for k in range(shares.shape[1]):
    hooks = send_all_to(k)
    results[f"all to expert {k + 1}"] = {name: mean_psnr(images) for name, images in inputs.items()}
    for hook in hooks:
        hook.remove()
pd.DataFrame(results).T.rename_axis("PSNR / dB").round(2)
