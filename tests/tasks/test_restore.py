"""`task=restore` on odd files, with a model that only brightens."""

import os

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from restoring import RNG, Brighten, config, restore, save

from daair import checkpoint
from daair.engine import inference
from daair.errors import UserError
from daair.tasks import restore as task


@pytest.fixture
def model(monkeypatch):
    model = Brighten().eval()
    monkeypatch.setattr(checkpoint, "load", lambda path, trust=(): model)
    return model


def test_a_folder_of_odd_files(tmp_path, model, capsys):
    source, output = tmp_path / "in put", tmp_path / "results"
    colour = save(source / "a.png")
    grey = save(source / "sub" / "grey ü ñ.PNG", (20, 30))
    alpha = save(source / "sub" / "deep" / "rgba.tif", (20, 30, 4))
    save(source / "tiny.bmp", (1, 1, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(source / "turned.jpg", exif=exif)
    save(source / "web.webp")
    wide = RNG.integers(0, 50000, (20, 30, 3), dtype=np.uint16)
    cv2.imwrite(str(source / "wide.png"), wide)
    save(source / "half.png", (200, 300, 3))
    (source / "half.png").write_bytes((source / "half.png").read_bytes()[:5000])
    (source / "text.png").write_text("no picture")
    (source / "notes.txt").write_text("no picture, and not called one")
    (source / ".hidden.png").write_text("no picture")

    assert restore(config(source, output)) == 1

    said = capsys.readouterr().out
    assert said.count("half.png") == 2 and said.count("text.png: not a readable") == 1
    assert (
        "skipped 2 files that are not pictures: .hidden.png, notes.txt\n" in said
        and said.splitlines()[-1] == f"restored 7 of 9 pictures: {output}"
    )
    written = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    assert written == sorted(
        ["a.png", "sub/grey ü ñ.PNG", "sub/deep/rgba.tif", "tiny.bmp", "turned.jpg", "web.webp", "wide.png"]
    )
    with Image.open(output / "a.png") as image:
        assert np.array_equal(np.asarray(image), colour + 51)
    with Image.open(output / "sub" / "grey ü ñ.PNG") as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), grey + 51)
    with Image.open(output / "sub" / "deep" / "rgba.tif") as image:
        restored = np.asarray(image)
    assert np.array_equal(restored[..., :3], alpha[..., :3] + 51) and np.array_equal(restored[..., 3], alpha[..., 3])
    with Image.open(output / "turned.jpg") as image:
        assert image.size == (20, 30) and image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert np.array_equal(cv2.imread(str(output / "wide.png"), cv2.IMREAD_UNCHANGED), wide + 13107)


def test_all_good_is_status_0_and_again_overwrites(tmp_path, model):
    save(tmp_path / "in" / "a.png")
    for _ in range(2):
        assert restore(config(tmp_path / "in", tmp_path / "out")) == 0


def test_pictures_that_the_network_leaves_as_they_are_are_named(tmp_path, model, capsys):
    """In the bits of each picture, and after clipping: white cannot become brighter."""
    save(tmp_path / "in" / "a.png")
    Image.new("RGB", (8, 8), "white").save(tmp_path / "in" / "white.png")
    cv2.imwrite(str(tmp_path / "in" / "deep.png"), np.full((8, 8, 3), 30000, np.uint16))
    told = {0.2: ["white.png"], 1e-3: ["a.png", "white.png"], 1e-6: ["a.png", "deep.png", "white.png"]}
    for weight, names in told.items():  # a step of eight bits is 0.0039, one of sixteen 0.000015
        model.weight.data.fill_(weight)
        assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
        assert f"unchanged by the network ({len(names)} of 3): {', '.join(names)}\n" in capsys.readouterr().out


def test_a_folder_without_pictures_is_an_error(tmp_path, model):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(UserError, match="holds no pictures"):
        restore(config(tmp_path / "in", tmp_path / "out"))
    with pytest.raises(UserError, match="no such file"):
        restore(config(tmp_path / "missing", tmp_path / "out"))


def test_one_file_to_a_folder_or_to_a_file_of_another_format(tmp_path, model, capsys):
    save(tmp_path / "a.png")
    assert restore(config(tmp_path / "a.png", tmp_path / "out")) == 0
    assert restore(config(tmp_path / "a.png", tmp_path / "made" / "b.jpg")) == 0
    assert f"restored 1 of 1 picture: {tmp_path / 'made' / 'b.jpg'}" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "a.png") as first, Image.open(tmp_path / "made" / "b.jpg") as second:
        assert (first.format, second.format) == ("PNG", "JPEG")


def test_a_file_of_another_kind_than_its_name_keeps_both(tmp_path, model):
    save(tmp_path / "in" / "a.jpg", (20, 30, 4), format="PNG")
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")


def test_inputs_are_never_overwritten(tmp_path, model):
    save(tmp_path / "in" / "a.png")
    before = (tmp_path / "in" / "a.png").read_bytes()
    os.symlink(tmp_path / "in", tmp_path / "link")
    for source, output in (("in", "in"), ("in", "link"), ("in/a.png", "in"), ("in/a.png", "in/a.png")):
        with pytest.raises(UserError, match="would overwrite"):
            restore(config(tmp_path / source, tmp_path / output))
    assert (tmp_path / "in" / "a.png").read_bytes() == before and not model.seen


def test_an_output_folder_inside_the_input_is_not_input_the_next_time(tmp_path, model):
    save(tmp_path / "in" / "a.png")
    for _ in range(2):
        assert restore(config(tmp_path / "in", tmp_path / "in" / "restored")) == 0
    assert sorted(p.name for p in (tmp_path / "in").rglob("*.png")) == ["a.png", "a.png"] and len(model.seen) == 2


def test_a_link_out_of_the_output_is_not_followed(tmp_path, model, capsys):
    save(tmp_path / "in" / "sub" / "a.png")
    save(tmp_path / "in" / "b.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "out" / "sub")
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
    assert "is outside of" in capsys.readouterr().out
    assert not list((tmp_path / "elsewhere").iterdir()) and (tmp_path / "out" / "b.png").exists()


def test_a_file_in_the_way_of_the_output(tmp_path, model, capsys):
    save(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="is a file"):
        restore(config(tmp_path / "in", tmp_path / "out"))
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "sub").touch()
    assert restore(config(tmp_path / "in", tmp_path / "out2")) == 1
    assert "not restored" in capsys.readouterr().out


def test_a_kind_of_picture_that_is_not_written_is_no_folder(tmp_path, model):
    save(tmp_path / "a.png")
    for name in ("b.gif", "b.cr2", "b.pdf"):
        with pytest.raises(UserError, match=rf"output: .*{name}: cannot write this format, but only .png"):
            restore(config(tmp_path / "a.png", tmp_path / name))
    assert restore(config(tmp_path / "a.png", tmp_path / "version.2")) == 0
    assert (tmp_path / "version.2" / "a.png").is_file()


def test_tiles_are_used_when_asked_for(tmp_path, model):
    values = save(tmp_path / "in" / "a.png", (100, 70, 3))
    assert restore(config(tmp_path / "in", tmp_path / "out", tile=32)) == 0
    assert {shape for shape, _ in model.seen} == {(1, 3, 32, 32)}
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert np.array_equal(np.asarray(image), values + 51)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_falls_back_to_tiles(tmp_path, model, monkeypatch, capsys, error):
    values = save(tmp_path / "in" / "a.png", (150, 600, 3))

    def forward(x, labels=None):
        if x.shape[-1] > 300:
            raise error
        return x + 0.2

    monkeypatch.setattr(model, "forward", forward)
    assert restore(config(tmp_path / "in", tmp_path / "out", overlap=32)) == 0
    said = capsys.readouterr().out
    assert "a.png: out of memory with 600 pixels at once" in said and "going on in tiles of 256" in said
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert np.array_equal(np.asarray(image), values + 51)


def test_a_model_that_never_fits_or_fails_otherwise_is_told(tmp_path, model, monkeypatch, capsys):
    save(tmp_path / "in" / "a.png", (150, 600, 3))
    for error, text in (("CUDA out of memory", "even in tiles of 64"), ("wrong\nshape", "the network failed: wrong")):

        def forward(x, labels=None, error=error):
            raise RuntimeError(error)

        monkeypatch.setattr(model, "forward", forward)
        assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
        assert text in capsys.readouterr().out
    for bad, text in ((lambda x: x * np.nan, "finite"), (lambda x: x[..., 1:], "shape")):
        monkeypatch.setattr(model, "forward", lambda x, labels=None, bad=bad: bad(x))
        assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
        assert text in capsys.readouterr().out
    assert not (tmp_path / "out" / "a.png").exists()


def test_the_degradation_is_told_by_name_or_position(tmp_path, model):
    save(tmp_path / "a.png")
    model.labels, model.needs_labels = ["noise", "rain"], True
    for asked, label in (("rain", 1), ("0", 0), (1, 1)):
        assert restore(config(tmp_path / "a.png", tmp_path / "out", degradation=asked)) == 0
        assert model.seen[-1][1] == [label]
    model.needs_labels = False
    with pytest.raises(UserError, match=r"restore\.degradation: unused; only a network with router=oracle"):
        restore(config(tmp_path / "a.png", tmp_path / "out", degradation="rain"))
    model.needs_labels = True
    for asked in ("fog", "2"):
        with pytest.raises(UserError, match="one of noise, rain"):
            restore(config(tmp_path / "a.png", tmp_path / "out", degradation=asked))
    with pytest.raises(UserError, match=r"restore\.degradation: .*needs the degradation"):
        restore(config(tmp_path / "a.png", tmp_path / "out"))


def test_without_a_checkpoint_the_network_that_comes_along_restores_and_it_is_told(tmp_path, capsys):
    values = save(tmp_path / "a.png")
    cfg = config(tmp_path / "a.png", tmp_path / "out")
    cfg.checkpoint = None
    assert restore(cfg) == 0
    said = capsys.readouterr().out
    assert "restoring with daair_tiny, which comes along (noise15, noise25, noise50, rain, haze)" in said
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert not np.array_equal(np.asarray(image), values)


def test_a_network_of_the_users_own(tmp_path):
    torch.save(Brighten().state_dict(), tmp_path / "net.pth")
    values = save(tmp_path / "a.png")
    cfg = config(tmp_path / "a.png", tmp_path / "out")
    cfg.checkpoint, cfg.model = str(tmp_path / "net.pth"), {"_target_": f"{__name__}.Brighten"}
    assert restore(cfg) == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert np.array_equal(np.asarray(image), values + 51)


def test_a_tiff_with_an_exif_directory_is_restored_and_what_is_left_out_is_named(tmp_path, model, capfd):
    block = Image.Exif()
    block[0x010F], block[0x8769] = "Make", {0x9003: "2024:01:01 00:00:00"}
    values = save(tmp_path / "in" / "ex.tif", exif=block.tobytes())
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
    with Image.open(tmp_path / "out" / "ex.tif") as image:
        assert np.array_equal(np.asarray(image), values + 51) and image.getexif()[0x010F] == "Make"
    told = capfd.readouterr()
    assert "metadata left out: Exif directories (1 picture)" in told.out and not told.err


@pytest.mark.parametrize("error", [KeyError("odd"), MemoryError(), RecursionError("deep"), AssertionError("a\nb")])
def test_any_exception_of_a_picture_is_that_pictures(tmp_path, model, monkeypatch, capsys, error):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "b.png")
    read = task.images.read
    monkeypatch.setattr(task.images, "read", lambda path: _raise(error) if path.name == "a.png" else read(path))
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert f"a.png: {type(error).__name__}" in said and "restored 1 of 2 pictures" in said


def _raise(error):
    raise error


def test_a_gif_is_restored_as_png(tmp_path, model):
    save(tmp_path / "in" / "a.gif", (20, 30))
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (30, 20))
    save(tmp_path / "in" / "a.png")
    with pytest.raises(UserError, match="a.gif and .*a.png would both be written to .*a.png"):
        restore(config(tmp_path / "in", tmp_path / "out"))


def test_a_picture_beyond_the_limit_is_not_opened(tmp_path, model, capsys, monkeypatch):
    """Pillow's own limit, which has no key, does not count."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    save(tmp_path / "in" / "a.png", (30, 40, 3))
    save(tmp_path / "in" / "b.png", (30, 50, 3))
    assert restore(config(tmp_path / "in", tmp_path / "out", max_megapixels=0.0012)) == 1
    said = capsys.readouterr().out
    assert "b.png: 50x30 pixels are more than restore.max_megapixels=0.0012; raise it if you trust the file" in said
    assert os.listdir(tmp_path / "out") == ["a.png"] and Image.MAX_IMAGE_PIXELS == 100


def test_a_picture_that_the_memory_cannot_hold_is_named(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setattr(task, "free_bytes", lambda device: 32 * 1200)
    save(tmp_path / "in" / "a.png", (30, 40, 3))
    save(tmp_path / "in" / "b.png", (30, 50, 3))
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
    assert "b.png: 50x30 pixels need 0.0 GB of memory" in capsys.readouterr().out
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_automatic_tiles_are_those_that_the_free_memory_suffices_for(tmp_path, model, capsys, monkeypatch):
    """Measured again before each picture, as other programs need memory too."""
    free = iter([10**9, 2 * (24 * 300 * 200 + 128**2 * 50), 10**9])
    monkeypatch.setattr(inference, "free_bytes", lambda *_: next(free))
    monkeypatch.setattr(inference, "bytes_per_pixel", lambda *_: 100.0)
    values = {name: save(tmp_path / "in" / name, (300, 200, 3)) for name in ("a.png", "b.png", "c.png")}
    assert restore(config(tmp_path / "in", tmp_path / "out", tile="auto")) == 0
    said = capsys.readouterr().out
    assert said.count("restored in tiles of") == 1
    assert "b.png: restored in tiles of 64 pixels, for which the free memory suffices" in said
    sizes = [shape[2:] for shape, _ in model.seen]
    assert sizes[0] == sizes[-1] == (300, 200) and set(sizes[1:-1]) == {(64, 64)}
    for name, pixels in values.items():
        with Image.open(tmp_path / "out" / name) as image:
            assert np.abs(np.asarray(image).astype(int) - (pixels + 51)).max() <= 1


@pytest.mark.parametrize(("name", "text"), [("text.png", "not a readable picture"), ("empty.png", "the file is empty")])
def test_the_only_picture_is_refused_in_one_line_and_leaves_nothing(tmp_path, model, name, text):
    (tmp_path / name).write_text("" if name.startswith("empty") else "no picture")
    with pytest.raises(UserError, match=f"{name}: {text}"):
        restore(config(tmp_path / name, tmp_path / "out" / "deep"))
    assert os.listdir(tmp_path) == [name]
