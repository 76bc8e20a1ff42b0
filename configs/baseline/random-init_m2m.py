# M->M: each mouse batch is tested by what was trained on the others (--fold M1 to M5).
_base_ = 'yolov8-seg.py'

protocol, method = 'm2m', 'random-init'
train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = []
init_from = []
