# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Results of a study
#
# From the folders of finished runs to numbers, a table and figures. `python run.py task=collate study=NAME` does all of
# this in one go; here are the steps, to change them.
#
# Needs a study: `make demo` makes one in a few minutes.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display

import daair

STUDY = Path(os.environ.get("DAAIR_STUDY", "../runs/demo"))  # the folder of a study

# %% [markdown]
# ## One frame
#
# A row per run, benchmark, protocol and image, with every key of the config as a column
# (`help(daair.report.frame)` tells what each column means). Runs that cannot be read are named, not dropped in silence.

# %%
frame = daair.collate(STUDY)
print(f"{len(frame)} rows, {frame.shape[1]} columns; left out: {frame.attrs['left_out'] or 'nothing'}")
frame[["run", "state", "benchmark", "protocol", "image", "input_psnr", "psnr", "ssim"]].head()

# %% [markdown]
# How far the runs are: a study whose seeds are not all there has no honest mean yet.

# %%
runs = frame.drop_duplicates("run")
runs.pivot_table(index="variant", columns="state", values="run", aggfunc="count", observed=True)

# %% [markdown]
# ## Means and spread
#
# First the mean over the images of each run, then mean and standard deviation over the seeds. The other way round the
# spread would be that of the images, which says nothing about the method. Only figures of one protocol compare. PSNR is
# infinite where an image was restored exactly; no mean contains such values.

# %%
metrics = ["input_psnr", "psnr", "ssim"]
finite = frame.assign(**{name: frame[name].where(np.isfinite(frame[name])) for name in metrics})
print(f"infinite values: {int(np.isinf(frame[metrics]).sum().sum())}")
per_run = finite.groupby(["variant", "seed", "benchmark", "protocol"], observed=True)[metrics].mean()
over_seeds = per_run.groupby(["variant", "benchmark", "protocol"], observed=True).agg(["mean", "std", "count"])
over_seeds["psnr"].round(3)

# %% [markdown]
# As a table: a row per variant, a column per benchmark.

# %%
psnr = over_seeds["psnr"]
several = psnr["count"].max() > 1
cells = [f"{row['mean']:.2f}" + (f" ± {row['std']:.2f}" if several else "") for _, row in psnr.iterrows()]
pd.Series(cells, index=psnr.index).unstack(["benchmark", "protocol"]).fillna("–")

# %% [markdown]
# What tells the variants apart: config keys that differ between them, and only between them.

# %%
from daair.report import figures
from daair.report import frame as collate

collated = collate.read_path(STUDY)
data = figures.figure_data(collated, STUDY.resolve().parent)
keys = list(data.keys)
runs.drop_duplicates("variant").set_index("variant")[keys] if keys else "all runs share one config"

# %% [markdown]
# ## Figures
#
# PDF for the paper, PNG to look at; sizes and fonts fit a two-column page. What the data cannot support is not drawn.
# Set `FIGURES` to keep them.

# %%
FIGURES = Path(os.environ.get("DAAIR_FIGURES") or tempfile.mkdtemp())
drawn = figures.draw(data, FIGURES)
for one in drawn:
    if one.files:
        display(Image(one.files[1], width=700), Markdown(one.caption))
    else:
        display(Markdown(f"*{one.name}: not drawn, since {one.reason}*"))
