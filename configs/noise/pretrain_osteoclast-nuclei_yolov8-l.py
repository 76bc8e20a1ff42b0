# Stage 2: detects osteoclasts, and nuclei as stage 1 has labelled them.
_base_ = [
    '../_base_/model_yolov8_det.py',
    '../_base_/data_osteoclast_nuclei.py',
    '../_base_/schedule.py',
    '../_base_/runtime.py',
]

train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = []  # --fold B holds one out
init_from = ['coco']

# Where stage 1 left nuclei uncertain, a nucleus is neither rewarded nor punished (`uncertain_from` of its hook).
model = dict(
    num_classes=2,
    data_preprocessor=dict(type='IgnoredRegionsPreprocessor'),
    bbox_head=dict(spare_ignored=True),
)
