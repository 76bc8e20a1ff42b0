# H->H: each human batch is tested by what was trained on the other (--fold H1, H2).
_base_ = 'finetune_osteoclast_yolov8-l-seg.py'

protocol, method = 'h2h', 'nuclei-free'
train_batches = ['H1', 'H2']
test_batches = []
init_from = ['coco', 'noise/pretrain_osteoclast_yolov8-l.py']
