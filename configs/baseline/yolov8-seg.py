# Plain YOLOv8 segmentation of osteoclasts, without nuclei: the paper's baseline.
_base_ = [
    '../_base_/model_yolov8_seg.py',
    '../_base_/data_osteoclast.py',
    '../_base_/schedule.py',
    '../_base_/runtime.py',
]

init_from = ['coco']
