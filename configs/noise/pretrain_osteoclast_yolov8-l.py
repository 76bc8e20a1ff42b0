# Ablation of stage 2: detects osteoclasts alone, without nuclei.
_base_ = 'pretrain_osteoclast-nuclei_yolov8-l.py'

classes = ('osteoclast',)
train_dataloader = dict(dataset=dict(type='OsteoclastDataset', pseudo_dir=None, held_out=None))
val_dataloader = dict(dataset=dict(type='OsteoclastDataset', pseudo_dir=None, held_out=None))
test_dataloader = dict(dataset=dict(type='OsteoclastDataset', pseudo_dir=None, held_out=None))
