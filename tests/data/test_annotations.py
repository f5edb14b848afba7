"""VOC, COCO and mask pairs: small sets in the real forms, real ones where they are, crops beside pixels, and every kind of mistake."""

import io
import json
import zipfile

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data import BrokenImage, coco, mask_pairs, shapes, voc
from jaxvision.data.readers.coco import run_length_mask, run_lengths
from tests.data.errors import one_line

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: annotated pictures are NOT checked here")
RANDOM = np.random.default_rng(0)


def png(pixels, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG", **options)
    return file.getvalue()


def write(root, files: dict):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def zipped(path, files: dict, top: str = ""):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
    return path


def picture(height=30, width=40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def xml(objects, height=30, width=40) -> str:
    """A VOC annotation of (class, (x_min, y_min, x_max, y_max), difficult)."""
    body = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>"
        f"<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box, difficult in objects
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>{body}</annotation>"


def voc_files() -> dict:
    return {
        "JPEGImages/a.png": png(picture()),
        "JPEGImages/b.jpg": png(picture()),
        "JPEGImages/c.png": png(picture()),
        "Annotations/a.xml": xml([("dog", (3, 4, 20, 25), 0), ("cat", (1, 1, 40, 30), 1), ("dog", (5, 6, 5, 9), 0)]),
        "Annotations/b.xml": xml([("fish", (2.5, 3, 8, 9.5), 0)]),
        "Annotations/c.xml": xml([]),
        "ImageSets/Main/train.txt": "a\nc\n",
        "ImageSets/Main/cat_val.txt": "b -1\n",
        "ImageSets/Main/val.txt": "b\n",
        "ImageSets/Segmentation/train.txt": "a\n",
        "SegmentationClass/a.png": png(np.where(np.arange(40) < 20, 1, 255) * np.ones((30, 1))),
    }


def test_voc_boxes_have_one_shape_and_classes_are_those_of_all_splits(tmp_path):
    files = voc_files()
    folder = write(tmp_path / "VOC2007", files)
    for place in (folder, tmp_path, zipped(tmp_path / "x.zip", files), zipped(tmp_path / "y.zip", files, "VOCdevkit/VOC2007/")):
        source = voc(place, "train")
        assert source.classes == ["cat", "dog", "fish"] and len(source) == 2 and source.dropped_boxes == 1
        assert source.labels.tolist() == [[1, 1, 0], [0, 0, 0]] and source.labels.dtype == np.float32
        first, second = source
        assert first["boxes"].tolist() == [[3, 4, 20, 25], [1, 1, 40, 30]] and first["box_label"].tolist() == [1, 0]
        assert first["difficult"].tolist() == [False, True] and first["label"].tolist() == [1, 1, 0]
        assert second["boxes"].tolist() == [[0] * 4] * 2 and second["box_label"].tolist() == [-1, -1]
        assert first["boxes"].dtype == np.float32 and first["box_label"].dtype == np.int32
        np.testing.assert_array_equal(first["image"], np.asarray(Image.open(folder / "JPEGImages/a.png")))
    assert voc(folder, "cat_val")[0]["boxes"].tolist() == [[2.5, 3, 8, 9.5]]
    batch = next(data.batches(source, 2, threads=2))
    assert batch["boxes"].shape == (2, 2, 4) and batch["label"].shape == (2, 3) and batch["difficult"].dtype == bool


def test_voc_options(tmp_path):
    folder = write(tmp_path, voc_files())
    few = voc(folder, "train", classes=["dog"], max_boxes=3, origin=1)
    assert few.classes == ["dog"] and few[0]["boxes"].tolist() == [[2, 3, 20, 25], [4, 5, 5, 9], [0] * 4]  # a pixel wide
    assert few.dropped_boxes == 0 and few.labels.tolist() == [[1], [0]]
    one_line(lambda: voc(folder, "train", max_boxes=1), ValueError, "max_boxes", "a.png")
    one_line(lambda: voc(folder, "train", classes=["dog", "horse"]), ValueError, "classes", "horse")
    one_line(lambda: voc(folder, "train", classes=["dog", "dog"]), ValueError, "classes")
    one_line(lambda: voc(folder, "train", background=(0, 0)), ValueError, "background")
    masked = voc(folder, "train", masks=True)[0]
    assert masked["mask"].shape == (30, 40) and masked["mask"].dtype == np.uint8 and set(np.unique(masked["mask"])) == {1, 255}
    for name in ("ImageSets/Main/train.txt", "ImageSets/Main/cat_val.txt", "ImageSets/Main/val.txt"):
        (folder / name).unlink()
    assert len(voc(folder)) == 3


def test_errors_in_voc_files_are_one_line(tmp_path):
    folder = write(tmp_path, voc_files())
    one_line(lambda: voc(folder), FileNotFoundError, "split")
    one_line(lambda: voc(folder, "test"), FileNotFoundError, "split")
    one_line(lambda: voc(folder / "JPEGImages", "train"), FileNotFoundError, "a.png")
    one_line(lambda: voc(folder / "none", "train"), FileNotFoundError, "none")
    write(folder, {"ImageSets/Main/more.txt": "a\nd\ne\n", "ImageSets/Main/empty.txt": "\n"})
    one_line(lambda: voc(folder, "more"), FileNotFoundError, "Annotations/", "d, e")
    one_line(lambda: voc(folder, "empty"), ValueError, "empty.txt")
    (folder / "JPEGImages/c.png").unlink()
    one_line(lambda: voc(folder, "train"), FileNotFoundError, "JPEGImages/", "c")
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><annotation><object>&c;</object></annotation>'
    whole = xml([("dog", (1, 2, 3, 4), 0)])
    for content, name in (
        (bomb, "DOCTYPE"),
        (bomb.encode("utf-16"), "DOCTYPE"),
        (whole[:-20], "XML"),
        (b"\xff\xd8\xff", "XML"),
        (whole.replace("<xmin>1</xmin>", ""), "<xmin>"),
        (whole.replace("<xmin>1<", "<xmin>one<"), "one"),
        (whole.replace("<xmin>1<", "<xmin>nan<"), "<xmin>"),
        (whole.replace("<name>dog</name>", "<name> </name>"), "<name>"),
    ):
        write(folder, {"Annotations/b.xml": content})
        one_line(lambda: voc(folder, "val"), ValueError, "b.xml", name)
    write(folder, {"Annotations/b.xml": xml([], height=31)})
    assert one_line(lambda: voc(folder, "val")[0], BrokenImage, "b.jpg", "40 x 31", "40 x 30").reason == "wrong annotation"
    two = write(tmp_path / "kit", {f"{year}/{name}": content for year in ("2007", "2012") for name, content in voc_files().items()})
    one_line(lambda: voc(two, "train"), ValueError, "folder", "2007/, 2012/")


def test_annotations_are_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    files = voc_files() | {"JPEGImages/b.jpg": png(picture(40, 30), exif=exif)}  # stored 30 wide and 40 high, shown 40 wide and 30 high
    assert voc(write(tmp_path, files), "val")[0]["image"].shape == (30, 40, 3)
    write(tmp_path, {"JPEGImages/b.jpg": png(picture(), exif=exif)})
    one_line(lambda: voc(tmp_path, "val")[0], BrokenImage, "30 x 40")


def coco_files() -> dict:
    shape = {"size": [30, 40], "counts": [3, 5, 1192]}
    return {
        "images": [{"id": 70, "file_name": "a.png", "width": 40, "height": 30}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 88, "name": "bear"}, {"id": 3, "name": "car"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 17, "bbox": [10, 5, 20, 10.5], "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]]},
            {"id": 2, "image_id": 70, "category_id": 88, "bbox": [0, 3, 1, 5], "iscrowd": 1, "segmentation": shape},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [1, 1, 0, 5], "segmentation": [[1, 1, 3, 1, 3, 2]]},
            {"id": 4, "image_id": 9, "category_id": 3, "bbox": [8, 4, 4, 4], "segmentation": [[8, 4, 12, 4, 12, 8, 8, 8]]},
        ],
    }


def coco_folder(root, found: dict | None = None):
    files = {"a.png": png(picture()), "b.png": png(picture())}
    return write(root, files | {"instances.json": json.dumps(found or coco_files())}) / "instances.json"


def test_coco_boxes_sparse_categories_and_crowds(tmp_path):
    path = coco_folder(tmp_path / "set")
    pictures = {name: (tmp_path / "set" / name).read_bytes() for name in ("a.png", "b.png")}
    for folder in (None, tmp_path / "set", zipped(tmp_path / "x.zip", pictures), zipped(tmp_path / "y.zip", pictures, "val2017/")):
        source = coco(path, folder)
        assert source.classes == ["car", "cat", "bear"] and source.category_ids == [3, 17, 88] and source.dropped_boxes == 1
        assert source.labels.tolist() == [[0, 0, 1], [1, 1, 0]]
        first, second = source
        assert second["boxes"].tolist() == [[10, 5, 30, 15.5], [8, 4, 12, 8]] and second["box_label"].tolist() == [1, 0]
        assert first["boxes"].tolist() == [[0, 3, 1, 8], [0] * 4] and first["box_label"].tolist() == [2, -1]
        assert first["is_crowd"].tolist() == [True, False] and "mask" not in first
    some = coco(path, classes=["bear", "car"])
    assert some.category_ids == [88, 3] and some[0]["box_label"].tolist() == [0] and some.labels.tolist() == [[1, 0], [0, 1]]


def test_coco_masks_are_drawn_in_the_order_of_the_classes(tmp_path):
    source = coco(coco_folder(tmp_path), masks=True)
    expected = np.zeros((30, 40), np.uint8)
    expected[3:8, 0] = 3
    np.testing.assert_array_equal(source[0]["mask"], expected)
    expected = np.zeros((30, 40), np.uint8)
    expected[1, 2] = 1  # whose box has no area
    expected[4:8, 8:12] = 1
    expected[5:15, 10:30] = 2
    np.testing.assert_array_equal(source[1]["mask"], expected)
    found = coco_files()
    found["annotations"][1]["segmentation"]["size"] = [40, 30]
    del found["images"][0]["height"]
    one_line(lambda: coco(coco_folder(tmp_path, found), masks=True)[0], BrokenImage, "a.png")


def encoded(mask: np.ndarray) -> str:
    """COCO's compressed run lengths of a mask, written from the format's description."""
    flat = mask.T.reshape(-1).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    text = ""
    for number, value in enumerate(lengths):
        value -= lengths[number - 2] if number > 2 else 0
        while True:
            five, value = value & 31, value >> 5
            more = value != (-1 if five & 16 else 0)
            text += chr(48 + (five | 32 * more))
            if not more:
                break
    return text


def test_run_lengths_in_both_forms():
    mask = np.zeros((9, 7), bool)
    mask[2:7, 1:3] = mask[4, 5] = True
    assert encoded(mask) == ";540d0LE"  # as COCO's own tools write this mask
    large = np.zeros((40, 50), bool)
    large[3:20, 5:30] = large[25:, 40:] = large[0, 0] = True
    assert encoded(large) == "01Z6`0]J00000000000000000000000000000000000000000000000V=NlB00000000000000000"  # theirs too
    for density in (0.0, 0.01, 0.5, 1.0):
        wild = RANDOM.random((61, 203)) < density
        wild[:, 40:160] ^= True
        np.testing.assert_array_equal(run_length_mask(run_lengths(encoded(wild)), wild.shape), wild)
    np.testing.assert_array_equal(run_length_mask(run_lengths(";540d0LE"), (9, 7)), mask)


def test_errors_in_coco_files_are_one_line(tmp_path):
    def broken(change):
        found = coco_files()
        change(found)
        return lambda: coco(coco_folder(tmp_path, found), masks=True)

    cases = [
        (lambda found: found.pop("categories"), "annotations, images"),
        (lambda found: found["images"][1].pop("file_name"), "images[1]"),
        (lambda found: found["annotations"].append(7), "annotations[4]"),
        (lambda found: found["annotations"][2].update(bbox=[1, 2, 3]), "annotations[2]"),
        (lambda found: found["annotations"][2].update(bbox=[1, 2, float("nan"), 3]), "annotations[2]"),
        (lambda found: found["annotations"][2].update(image_id=4), "image_id"),
        (lambda found: found["annotations"][0].update(category_id=1), "category_id"),
        (lambda found: found["images"][1].update(id=70), "images"),
        (lambda found: found["categories"][1].update(name="cat"), "categories"),
        (lambda found: found["images"].clear(), "images"),
        (lambda found: found["annotations"][0].update(segmentation=[]), "annotation 1"),
        (lambda found: found["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "annotation 1"),
        (lambda found: found["annotations"][1]["segmentation"].update(counts="0"), "40 x 30"),
        (lambda found: found["annotations"][1]["segmentation"].pop("size"), "annotation 2"),
    ]
    for change, name in cases:
        one_line(broken(change), ValueError, "annotations: ", name)
    one_line(broken(lambda found: found["images"][1].update(file_name="../a.png")), FileNotFoundError, "../a.png", "folder=")
    path = coco_folder(tmp_path)
    one_line(lambda: coco(path, classes=["dog"]), ValueError, "classes")
    one_line(lambda: coco(path, max_boxes=1), ValueError, "max_boxes", "b.png")
    one_line(lambda: coco(tmp_path / "none.json"), FileNotFoundError, "annotations", "none.json")
    many = coco_files() | {"categories": [{"id": number, "name": f"class {number}"} for number in range(300)]}
    one_line(lambda: coco(coco_folder(tmp_path, many), masks=True), ValueError, "masks")
    assert coco(coco_folder(tmp_path, many))[0]["box_label"][0] == 88
    path.write_text("[1, 2]")
    one_line(lambda: coco(path), ValueError, "annotations: ", "JSON")
    path.write_text('{"images": [')
    one_line(lambda: coco(path), ValueError, "annotations: ", "JSON")


def pair_files(split="train/") -> dict:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 10:30] = 2
    mask[0, 0] = 11
    return {
        f"{split}images/a.jpg": png(picture()),
        f"{split}images/b.png": png(picture()),
        f"{split}labels/a.png": png(mask),
        f"{split}labels/b.png": png(mask * 0 + 1),
    }


def test_mask_pairs_keep_the_values_of_the_files(tmp_path):
    names = ["sky", "road", "car", "tree"]
    folder, flat = write(tmp_path / "set", pair_files()), write(tmp_path / "flat", pair_files(""))
    archives = [zipped(tmp_path / f"{number}.zip", pair_files(), top) for number, top in enumerate(("", "CamVid/"))]
    for place, split in ((folder, "train"), (flat, None), (folder / "train", None), *((archive, "train") for archive in archives)):
        source = mask_pairs(place, split, classes=names, void=11)
        assert len(source) == 2 and source.classes == names and source.labels_fit_classes
        first = source[0]
        assert first["mask"][7, 12] == 2 and first["mask"][0, 0] == 11 and first["mask"].dtype == np.uint8
        assert first["label"].tolist() == [1, 0, 1, 0] and source.labels.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]
    assert mask_pairs(folder, "train").classes == [str(number) for number in range(12)]
    assert mask_pairs(folder, "train", void=11).classes == ["0", "1", "2"]
    assert next(data.batches(source, 2))["mask"].shape == (2, 30, 40)


def test_errors_in_mask_pairs_are_one_line(tmp_path):
    folder = write(tmp_path, pair_files() | {"train/images/c.png": png(picture()), "train/images/d.png": png(picture())})
    one_line(lambda: mask_pairs(folder, "train"), FileNotFoundError, "labels/", "c, d")
    one_line(lambda: mask_pairs(folder, "val"), FileNotFoundError, "split")
    write(folder, {"train/labels/c.png": png(np.zeros((29, 40))), "train/labels/d.png": b"text"})
    source = mask_pairs(folder, "train", classes=["a", "b", "c"])
    one_line(lambda: source[0], BrokenImage, "a.png")
    assert source[1]["mask"].max() == 1
    one_line(lambda: source[2], BrokenImage, "40 x 29", "40 x 30")
    one_line(lambda: source[3], BrokenImage, "labels/d.png")
    one_line(lambda: mask_pairs(folder, "train", void=256), ValueError, "void, classes")


def test_a_broken_mask_is_one_example_and_not_the_set(tmp_path):
    folder = write(tmp_path, pair_files() | {"train/images/0.png": png(picture()), "train/labels/0.png": b"text"})
    source = mask_pairs(folder, "train", void=11)
    assert source.classes == ["0", "1", "2"] and source.labels.tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0]]
    one_line(lambda: source[0], BrokenImage, "labels/0.png")
    assert source[1]["label"].tolist() == [1, 0, 1]
    write(folder, {"train/labels/a.png": b"", "train/labels/b.png": b""})
    one_line(lambda: mask_pairs(folder, "train", void=11), BrokenImage, "labels/0.png")


def test_a_view_takes_boxes_and_masks_along(tmp_path):
    files = voc_files() | {"Annotations/a.xml": xml([("dog", (12, 6, 20, 16), 0), ("cat", (0, 0, 4, 4), 1)])}
    source = voc(write(tmp_path, files), "train", masks=True)
    whole, seen = source[0], []

    def choose(height, width):
        seen.append((height, width))
        return (4, 10, 20, 24), (40, 48)

    view = source.view(0, choose)
    assert seen == [(30, 40)] and view["image"].shape == (40, 48, 3) and view["mask"].shape == (40, 48)
    assert view["boxes"].tolist() == [[4, 4, 20, 24], [0] * 4] and view["box_label"].tolist() == [1, -1]
    assert view["difficult"].tolist() == whole["difficult"].tolist() and view["label"].tolist() == whole["label"].tolist()
    np.testing.assert_array_equal(view["mask"], whole["mask"][4:24, 10:34].repeat(2, 0).repeat(2, 1))
    same = source.view(-1, lambda height, width: ((0, 0, height, width), (height, width)))
    for name, value in source[-1].items():
        np.testing.assert_array_equal(same[name], value)


def test_boxes_and_masks_follow_random_crops():
    source = data.random_crops(shapes(120), 48, scale=(0.2, 1.0))
    found = 0
    for i in range(120):
        crop = source.draw(i, seed=5, epoch=1)
        assert crop["image"].shape == (48, 48, 3) and crop["mask"].shape == (48, 48) and crop["boxes"].shape == (1, 4)
        shape = crop["mask"] == crop["label"] + 1
        if shape.sum() > 20:
            rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
            beyond = crop["boxes"][0] - [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert (beyond * [1, 1, -1, -1] <= 2).all()  # a pixel of a small crop is drawn over some
            whole = ((crop["boxes"][0] > 0) & (crop["boxes"][0] < 48)).all()  # of a cut shape the box says less
            assert abs(beyond).max() <= 3.1 or not whole
            pixels = crop["image"].astype(int)
            colour, ground = np.median(pixels[shape], 0), np.median(pixels[~shape], 0) if (~shape).sum() > 20 else np.full(3, 1e3)
            nearer = abs(pixels - colour).sum(-1) < abs(pixels - ground).sum(-1)
            assert (nearer == shape).mean() > 0.9
            found += whole
    assert found > 20


def test_real_voc_boxes(data_folder):
    counts = {"train": 205, "val": 87, "trainval": 292, "test": 72}
    sources = {split: voc(data_folder / "bccd" / "bccd.zip", split) for split in counts}
    assert {split: len(source) for split, source in sources.items()} == counts
    assert sources["train"].classes == ["Platelets", "RBC", "WBC"]
    boxes = np.zeros(3, int)
    for split in ("trainval", "test"):
        for i in range(len(sources[split])):
            fields = sources[split].fields(i, (480, 640))
            boxes += np.bincount(fields["box_label"][fields["box_label"] >= 0], minlength=3)
    dropped = sources["trainval"].dropped_boxes + sources["test"].dropped_boxes
    assert dropped == 2 and boxes.tolist() == [361, 4155 - 2, 372]  # both of zero area are red cells
    example = sources["train"][0]
    assert example["image"].shape == (480, 640, 3) and example["boxes"].max() <= 640


def test_real_mask_pairs(data_folder):
    folder = data_folder / "camvid" / "camvid_train_val.zip"
    train, validation = (mask_pairs(folder, split, classes=[str(value) for value in range(12)]) for split in ("train", "val"))
    assert (len(train), len(validation)) == (367, 101) and train[0]["image"].shape == (360, 480, 3)
    pixels = sum(
        np.bincount(source.fields(i, (360, 480))["mask"].ravel(), minlength=12)
        for source in (train, validation)
        for i in range(len(source))
    )
    shares = [0.152, 0.238, 0.009, 0.311, 0.054, 0.112, 0.011, 0.016, 0.050, 0.006, 0.007, 0.035]
    np.testing.assert_allclose(pixels / pixels.sum(), shares, atol=6e-4)  # as rounded there
