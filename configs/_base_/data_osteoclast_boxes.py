# Patches with osteoclasts as boxes: what the detectors of stages 1 and 2 have in common. All else is as in stage 3.
_base_ = 'data_osteoclast.py'

# --- hardly ever changed
# As in stage 3, without outlines, and with Ultralytics' rule for boxes: half-hidden ones are dropped sooner (0.1).
load = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}', pad=False),
    dict(type='LoadTargets', with_mask=False),
]
affine = dict(type='PatchAffine', network_size_px='${network_size_px}', min_area_ratio=0.1)
finish = [
    dict(type='StainJitter', stain_augmentation='${stain_augmentation}'),
    dict(type='YOLOv5HSVRandomAug'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomQuarterTurn', prob=0.5),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
mosaic = dict(type='PatchMosaic', network_size_px='${network_size_px}', use_cached=False, pre_transform=load)
train_pipeline = [*load, mosaic, affine, *finish]
train_pipeline_no_mosaic = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}'),
    dict(type='LoadTargets', with_mask=False),
    affine,
    *finish,
]
val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator
best_metric = 'osteoclast/bbox_mAP50'  # decides which checkpoint is the best, and when to stop early

# Only building blocks of the above: changing them in a child config would do nothing.
del load, mosaic, affine, finish
