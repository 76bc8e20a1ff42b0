# The nano network on a few dozen patches: what tools/quickstart.py trains on the sample cultures, in minutes without a
# GPU. With so few patches the full augmentation would need far more epochs, so it is flips and quarter turns only.
_base_ = '../baseline/yolov8-seg.py'

init_from = []
data_root = 'quickstart/data'
train_batches = ['M1']
test_batches = ['M1-new']
max_epochs = 40
val_interval = 10
batch_size = 4
nominal_batch_size = 4
num_workers = 2
cache = 'ram'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}'),
    dict(type='LoadTargets', with_mask=True),
    dict(type='YOLOv5HSVRandomAug'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomQuarterTurn', prob=0.5),
    dict(type='DrawTargetMasks', overlap=True),
    dict(type='PackPatch', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
default_hooks = dict(close_mosaic=None)  # there is none

# An epoch has a handful of iterations here: running statistics that follow the weights faster than YOLOv8's (0.03).
model = dict(size='n', norm_cfg=dict(momentum=0.1))
