"""The YOLOv8 networks: heads, assignment and masks. Importing this registers them with MMYOLO."""

import warnings

from noise_mm.models.data_preprocessor import IgnoredRegionsPreprocessor
from noise_mm.models.task_aligned_assigner import YOLOv8TaskAlignedAssigner
from noise_mm.models.yolov8_det_head import YOLOv8DetHead, YOLOv8DetHeadModule
from noise_mm.models.yolov8_detector import YOLOv8Detector
from noise_mm.models.yolov8_ins_head import YOLOv8InsHead, YOLOv8InsHeadModule

# MMDetection's point generator calls torch.meshgrid in the old way, which still gives the same.
warnings.filterwarnings('ignore', message='torch.meshgrid: in an upcoming release', category=UserWarning)
