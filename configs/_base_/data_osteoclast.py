# Stage 3: patches with osteoclast outlines.
#
# '${name}' stands for the setting of that name, whatever a child config or --cfg-options makes of it: it is filled in
# when the run is built (noise_mm/configuration.py). Values written in its place are kept.

# --- often changed
data_root = 'data/osteoclast'
train_batches = ['M1', 'M2', 'M3', 'M4']
test_batches = ['M5']
batch_size = 16  # of each GPU
num_workers = 4  # of each GPU

# --- sometimes changed
classes = ('osteoclast',)
patch_size_px = 832  # side of a patch in the well, at the reference resolution; also of a tile at prediction
network_size_px = 416  # side of the network's input, a multiple of 32
stain_augmentation = False  # True varies the strength of the stains (see StainJitter); the paper has no such step
split_unit = 'well'  # 'patch' lets overlapping patches lie in training and validation
val_fraction = 0.2
split_seed = 0
# 'ram' keeps decoded patches in memory, 0.52 MB each at 416 px; 'none' does not; 'auto' does where they take less than
# half of the free memory
cache = 'auto'

# --- hardly ever changed
load = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}', pad=False),
    dict(type='LoadTargets', with_mask=True),
]
# Ultralytics' defaults for YOLOv8 (scale 0.5, shift 0.1, no rotation or shear, HSV 0.015, 0.7, 0.4, horizontal flips),
# plus vertical flips and quarter turns, because a dish has no up.
affine = dict(type='PatchAffine', network_size_px='${network_size_px}', min_area_ratio=0.01)
finish = [
    dict(type='StainJitter', stain_augmentation='${stain_augmentation}'),
    dict(type='YOLOv5HSVRandomAug'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmdet.RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomQuarterTurn', prob=0.5),
    dict(type='DrawTargetMasks', overlap=True),
    dict(type='PackPatch', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
# The other patches of a mosaic come from the whole dataset, so that samples are the same in a resumed run and with any
# number of workers. use_cached=True takes them from the worker's last ones: fewer files are read, without that promise.
mosaic = dict(type='PatchMosaic', network_size_px='${network_size_px}', use_cached=False, pre_transform=load)
train_pipeline = [*load, mosaic, affine, *finish]
# For the last epochs, see the hook `close_mosaic`.
train_pipeline_no_mosaic = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}'),
    dict(type='LoadTargets', with_mask=True),
    affine,
    *finish,
]
# The annotation is not transformed: `instances` is the truth at the resolution of the patch.
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_param', 'batch', 'well', 'instances')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FitPatch', network_size_px='${network_size_px}'),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys),
]
# Test-time augmentation of detectors (--tta of MMDetection's tools/test.py); MMDetection joins no masks.
tta_model = dict(type='mmdet.DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=1000))
flips = [dict(type='mmdet.RandomFlip', prob=1.0), dict(type='mmdet.RandomFlip', prob=0.0)]
pack_flipped = dict(type='mmdet.PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))
tta_pipeline = [*test_pipeline[:2], dict(type='TestTimeAug', transforms=[flips, [pack_flipped]])]

dataset = dict(
    type='OsteoclastDataset',
    data_root='${data_root}',
    metainfo=dict(classes='${classes}'),
    network_size_px='${network_size_px}',
    cache='${cache}',
)
split = dict(split_unit='${split_unit}', val_fraction='${val_fraction}', split_seed='${split_seed}')
loader = dict(batch_size='${batch_size}', num_workers='${num_workers}', pin_memory=True)
train_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_patches'),
    dataset=dict(**dataset, **split, batches='${train_batches}', split='train', pipeline='${train_pipeline}'),
)
val_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset, **split, batches='${train_batches}', split='val', pipeline='${test_pipeline}', test_mode=True
    ),
)
test_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, batches='${test_batches}', split='all', pipeline='${test_pipeline}', test_mode=True),
)

# mode='ultralytics' matches and interpolates as the paper's numbers do; see docs/metrics.md
val_evaluator = dict(type='OsteoclastMetric', metric=['segm', 'bbox'], mode='coco')
test_evaluator = val_evaluator
best_metric = 'osteoclast/segm_mAP50'  # decides which checkpoint is the best, and when to stop early

# Only building blocks of the above: changing them in a child config would do nothing.
del load, mosaic, affine, finish, meta_keys, flips, pack_flipped, dataset, split, loader
