# M->M: each mouse batch is tested by what was trained on the others (--fold M1 to M5).
_base_ = 'finetune_osteoclast_yolov8-l-seg.py'

protocol, method = 'm2m', 'noise'
train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = []
init_from = ['coco', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py']
