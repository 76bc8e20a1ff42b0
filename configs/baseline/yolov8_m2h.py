# M->H: trained on all mouse batches, tested on all human ones.
_base_ = 'yolov8-seg.py'

protocol, method = 'm2h', 'yolov8'
train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = ['H1', 'H2']
init_from = ['coco']
