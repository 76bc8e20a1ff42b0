# M->H: trained on all mouse batches, tested on all human ones.
_base_ = 'finetune_osteoclast_yolov8-l-seg.py'

protocol, method = 'm2h', 'noise'
train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = ['H1', 'H2']
init_from = ['coco', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py']
