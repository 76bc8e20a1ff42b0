# H->H: each human batch is tested by what was trained on the other (--fold H1, H2).
_base_ = 'yolov8-seg.py'

protocol, method = 'h2h', 'random-init'
train_batches = ['H1', 'H2']
test_batches = []
init_from = []
