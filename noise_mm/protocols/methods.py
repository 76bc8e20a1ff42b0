"""The names of protocols and methods, and the configs of each method. Imports nothing."""

from dataclasses import dataclass

PROTOCOLS = ('m2m', 'm2h', 'h2h')


@dataclass(frozen=True)
class Method:
    """The configs of a method, relative to `configs/`.

    Attributes:
        folder: Where its protocols are, called `<method>_<protocol>.py`.
        detector: Stage 1, whose best weights label nuclei for stage 2; None if there is none.
        pretraining: Stage 2, whose best weights stage 3 starts from; None if there is none.
    """

    folder: str
    detector: str | None = None
    pretraining: str | None = None


METHODS = {
    'yolov8': Method('baseline'),
    'noise': Method('noise', 'noise/nuclei_detector_yolov8-l.py', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py'),
    'nuclei-free': Method('noise', pretraining='noise/pretrain_osteoclast_yolov8-l.py'),
    'random-init': Method('baseline'),
}
