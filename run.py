"""DaAIR Lab: train, evaluate and use degradation-aware all-in-one image restoration networks.

    python run.py scale=tiny mix=demo                  train a small network on the embedded images, minutes on a CPU
    python run.py scale=tiny mix=aio3 mix.root=DIR experts.rank=8 experts.count=4 router=top1 loss=l1_fft seed=1
    python run.py -m scale=tiny mix=demo experts.rank=4,8,16 seed=0,1,2 study=mine    every combination
    python run.py                                      the full size, for GPUs: 534,000 updates of model=daair (6.51 M)
    python run.py model=daair_tiny train.init=RUN_OR_FILE mix=derain    start from weights: fine-tuning
    python run.py task=evaluate checkpoint=RUN_OR_FILE benchmarks=[cbsd68_sigma25,rain100l] mix.root=DIR
    python run.py task=restore input=IMAGE_OR_DIR output=DIR               with daair_tiny, which comes along
    python run.py task=restore checkpoint=RUN_OR_FILE input=IMAGE_OR_DIR output=DIR
    python run.py task=export checkpoint=RUN_OR_FILE output=model.onnx     for other programs, with a card of its costs
    python run.py task=doctor                          what works on this machine and what does not, with remedies
    python run.py task=verify mix.root=DIR             check the data sets there against those of the papers
    python run.py task=preview mix=aio3 mix.root=DIR   a picture of every degradation: clean, weak, medium, strong
    python run.py task=status study=rank               progress of the study's runs; without study=, of all studies
    python run.py task=report                          runs/index.html: all studies with state and headline
    python run.py task=collate study=rank              the study's table in four formats, figures and a report
    python run.py task=compare runs=[RUN,RUN]          keys that differ, benchmarks with paired intervals, curves
    python run.py task=runs study=rank where="state=='failed'" action=rerun    also list, archive, delete, label
    python run.py task=profile profile.models=[daair,daair_small]    parameters, MACs, latency, peak memory

    python run.py --help                               options of every config group
    python run.py --cfg job                            the whole configuration as composed (checked when it is used)
    python run.py --info defaults                      the files that it is composed of

The same command resumes a training that was stopped. `python -m daair` and `daair` are the same program.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

try:
    from daair.cli import entry  # the line above makes a plain checkout importable
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} in {sys.executable}; give `make setup` once, then `source .venv/bin/activate`")

if __name__ == "__main__":
    entry()
