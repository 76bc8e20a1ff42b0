# Ablation of stage 2: detects osteoclasts alone, without nuclei.
_base_ = [
    '../_base_/model_yolov8_det.py',
    '../_base_/data_osteoclast_boxes.py',
    '../_base_/schedule.py',
    '../_base_/runtime.py',
]

train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = []  # --fold B holds one out
init_from = ['coco']
