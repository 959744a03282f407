"""What is published about the files of the data sets: the facts that `benchmark.data.identity` compares with.

Digests were computed from the original files where these were available. For the others there are sums over all
pixels, which follow exactly from published means and standard deviations: in double precision, mean * 255 * pixels is
an integer. Imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmark.data.download import DOWNLOADS


@dataclass(frozen=True)
class PublishedPart:
    """One part of a data set as published; unknown facts are empty or None.

    Attributes:
        counts: images of each class.
        content: `identity.content_sha256` of its images and labels.
        files: hash of each official file that holds arrays, prefixed by its algorithm: "sha256:" or "md5:".
        sums: sum of the pixel values (0..255) of each channel over all images.
        squares: sum of the squared pixel values of each channel over all images.
        mean: mean of each channel in [0, 1], to four decimals, where the sums are not published.
        class_means: mean of each channel over the images of one class, for each class, in [0, 1]; approximate.
    """

    counts: tuple[int, ...]
    content: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    sums: tuple[int, ...] = ()
    squares: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    class_means: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class PublishedSet:
    """A data set as published.

    Attributes:
        class_names: names of the classes in the order of the labels.
        jpeg: whether the images are published as JPEG files; if not, they are lossless.
        train: the training part.
        test: the test part.
        spellings: alternative names of some classes, and the official ones.
    """

    class_names: tuple[str, ...]
    jpeg: bool
    train: PublishedPart
    test: PublishedPart
    spellings: Mapping[str, str] = field(default_factory=dict)

    def part(self, part: Literal["train", "test"]) -> PublishedPart:
        """Return one part."""
        return self.train if part == "train" else self.test


_DIGITS = tuple("0123456789")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# Mean colours of the classes in cifar10-jpeg, also used for CIFAR-10; see `identity._CLASS_TOLERANCE`.
_CIFAR10_TRAINING_COLOURS = (
    (0.5256, 0.5602, 0.5887),
    (0.4710, 0.4544, 0.4471),
    (0.4892, 0.4914, 0.4241),
    (0.4952, 0.4564, 0.4155),
    (0.4715, 0.4652, 0.3783),
    (0.4997, 0.4646, 0.4166),
    (0.4699, 0.4384, 0.3456),
    (0.5018, 0.4798, 0.4169),
    (0.4902, 0.5253, 0.5546),
    (0.4984, 0.4851, 0.4778),
)
_CIFAR10_TEST_COLOURS = (
    (0.5337, 0.5718, 0.6058),
    (0.4705, 0.4544, 0.4483),
    (0.4899, 0.4949, 0.4282),
    (0.4932, 0.4553, 0.4160),
    (0.4650, 0.4593, 0.3707),
    (0.5091, 0.4745, 0.4252),
    (0.4748, 0.4422, 0.3463),
    (0.5049, 0.4834, 0.4255),
    (0.4946, 0.5246, 0.5528),
    (0.5049, 0.4901, 0.4850),
)

_SVHN_FILES = {name: f"sha256:{file.sha256}" for name, file in DOWNLOADS["svhn"].files.items()}

# Sums of CIFAR and SVHN: from mean and standard deviation of each part as published in many repositories, for CIFAR-10
# 0.49139967861519607 and 0.2470322324632819 in the first channel. Hashes of the files: SHA-256 as stated by several
# independent projects, and for CIFAR-100, where none does, the MD5 of torchvision.
PUBLISHED = {
    "digits": PublishedSet(
        class_names=_DIGITS,
        jpeg=False,
        train=PublishedPart(
            (143, 145, 142, 133, 148, 152, 144, 147, 141, 142),
            content="6e85629c3d866ad1e84516fac420d0e647722c38e1e134f7f0cdec4f0f8bdfe9",
        ),
        test=PublishedPart(
            (35, 37, 35, 50, 33, 30, 37, 32, 33, 38),
            content="68d368f7355e58f03d13d05fb06329a208fb5f839ea4ad3a799cb1d952841699",
        ),
    ),
    # Digests of the Debian package dataset-fashion-mnist, whose files have the published MD5 once file name and time
    # are back in their gzip headers.
    "fashion-mnist": PublishedSet(
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        jpeg=False,
        train=PublishedPart((6000,) * 10, content="9b59105b0403efb11e8b880a02c46894ebc04265c845ebcbb781b324c4fdd377"),
        test=PublishedPart((1000,) * 10, content="42d9ee570837aba1cd0b32741e8c1a09f099a3abe1ff438da2b17208614d12f5"),
    ),
    "cifar10": PublishedSet(
        class_names=_CIFAR10,
        jpeg=False,
        spellings={"plane": "airplane", "car": "automobile"},
        train=PublishedPart(
            (5000,) * 10,
            files={
                "data_batch_1": "sha256:54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
                "data_batch_2": "sha256:766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
                "data_batch_3": "sha256:0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
                "data_batch_4": "sha256:3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
                "data_batch_5": "sha256:d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
            },
            sums=(6_415_714_204, 6_295_060_180, 5_829_907_619),
            squares=(1_007_102_432_534, 971_356_520_230, 891_641_299_129),
            class_means=_CIFAR10_TRAINING_COLOURS,
        ),
        test=PublishedPart(
            (1000,) * 10,
            files={"test_batch": "sha256:f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"},
            sums=(1_290_492_328, 1_266_775_083, 1_176_108_223),
            squares=(203_142_822_772, 195_994_125_154, 180_646_015_723),
            class_means=_CIFAR10_TEST_COLOURS,
        ),
    ),
    "cifar100": PublishedSet(
        class_names=tuple(_CIFAR100.split()),
        jpeg=False,
        train=PublishedPart(
            (500,) * 100,
            files={"train": "md5:16019d7e3df5f24257cddd939b257f8d"},
            sums=(6_620_373_279, 6_352_382_090, 5_756_623_363),
            squares=(1_093_977_562_105, 1_007_075_543_166, 901_128_318_593),
        ),
        test=PublishedPart(
            (100,) * 100,
            files={"test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"},
            sums=(1_328_569_193, 1_272_680_636, 1_153_999_502),
            squares=(220_286_936_083, 202_279_090_580, 181_176_077_848),
        ),
        spellings={"cra": "crab"},  # a typo in the hub's copy
    ),
    "svhn": PublishedSet(
        class_names=_DIGITS,
        jpeg=False,
        train=PublishedPart(
            (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
            files=_SVHN_FILES,
            sums=(8_372_363_135, 8_488_812_030, 9_044_213_307),
            squares=(1_125_720_415_183, 1_157_705_903_750, 1_279_791_117_509),
        ),
        test=PublishedPart(
            (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
            files=_SVHN_FILES,
            mean=(0.4524, 0.4525, 0.4690),
        ),
    ),
    "cifar10-jpeg": PublishedSet(
        class_names=_CIFAR10,
        jpeg=True,
        train=PublishedPart(
            (5000,) * 10,
            content="6b4cecb4e07036f3780996ddb73a61012ef854e4bd430b3a8919c673ded0770a",
            class_means=_CIFAR10_TRAINING_COLOURS,
        ),
        test=PublishedPart(
            (1000,) * 10,
            content="b6a4df92cbe5aa6c734ae907ea49f30c5c9ca3fd1b28bdf470eb05c873349263",
            class_means=_CIFAR10_TEST_COLOURS,
        ),
    ),
}

# Other data sets whose files are named like those of a published one.
LOOKALIKES = {
    "mnist": PublishedSet(
        class_names=_DIGITS,
        jpeg=False,
        train=PublishedPart((5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)),
        test=PublishedPart((980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)),
    ),
}

TRAINING_PART = {name: sum(published.train.counts) for name, published in PUBLISHED.items()}  # images, validation too
TEST_PART = {name: sum(published.test.counts) for name, published in PUBLISHED.items()}
