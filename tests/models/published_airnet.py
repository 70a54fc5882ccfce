"""The names and shapes of the authors' AirNet checkpoints, by the rule that they follow."""


def published_shapes(channels: int = 64, groups: int = 5, blocks: int = 5, queue: int = 1024) -> dict[str, tuple]:
    """Return name -> shape of every entry, the queue's length included."""
    shapes: dict[str, tuple] = {}

    def conv(name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into, kernel, kernel)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    C = channels
    conv("R.head.0", C, 3, 3)
    for group in range(groups):
        for block in range(blocks):
            prefix = f"R.body.{group}.body.{block}"
            for k in (1, 2):
                shapes[f"{prefix}.dgm{k}.dcn.weight"] = (C, C, 3, 3)
                conv(f"{prefix}.dgm{k}.dcn.conv_offset_mask", 27, 2 * C, 3)
                for part in ("gamma.0", "gamma.2", "beta.0", "beta.2"):
                    conv(f"{prefix}.dgm{k}.sft.conv_{part}", C, C, 1, bias=False)
                conv(f"{prefix}.conv{k}", C, C, 3)
        conv(f"R.body.{group}.body.{blocks}", C, C, 3)
    conv(f"R.body.{groups}", C, C, 3)
    conv("R.tail.0", 3, C, 3)
    shapes["E.E.queue"], shapes["E.E.queue_ptr"] = (256, queue), (1,)
    for side in ("q", "k"):
        for unit, into, out in (("E_pre", 3, C), ("E.0", C, 2 * C), ("E.1", 2 * C, 4 * C)):
            prefix = f"E.E.encoder_{side}.{unit}"
            conv(f"{prefix}.backbone.0", out, into, 3, bias=False)
            norm(f"{prefix}.backbone.1", out)
            conv(f"{prefix}.backbone.3", out, out, 3, bias=False)
            norm(f"{prefix}.backbone.4", out)
            conv(f"{prefix}.shortcut.0", out, into, 1, bias=False)
            norm(f"{prefix}.shortcut.1", out)
        for layer, into in ((0, 4 * C), (2, 256)):
            shapes[f"E.E.encoder_{side}.mlp.{layer}.weight"] = (256, into)
            shapes[f"E.E.encoder_{side}.mlp.{layer}.bias"] = (256,)
    return shapes
