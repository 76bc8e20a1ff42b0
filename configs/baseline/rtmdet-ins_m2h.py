# M->H with a network of another kind, from random weights: RTMDet-Ins tiny of MMDetection
# (rtmdet/rtmdet-ins_tiny_8xb32), on the same patches, augmentation, schedule and metric as the YOLOv8 arms.
_base_ = ['../_base_/data_osteoclast.py', '../_base_/schedule.py', '../_base_/runtime.py']

protocol, method = 'm2h', 'rtmdet-ins'
train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = ['H1', 'H2']

norm_cfg, act_cfg = dict(type='BN'), dict(type='SiLU', inplace=True)
model = dict(
    _scope_='mmdet',
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        type='CSPNeXt',
        deepen_factor=0.167,
        widen_factor=0.375,
        channel_attention=True,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=[96, 192, 384],
        out_channels=96,
        num_csp_blocks=1,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    bbox_head=dict(
        type='RTMDetInsSepBNHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_mask=dict(type='DiceLoss', loss_weight=2.0, eps=5e-6, reduction='mean'),
    ),
    train_cfg=dict(assigner=dict(type='DynamicSoftLabelAssigner', topk=13), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=300,
        mask_thr_binary=0.5,
    ),
)

# MMDetection packs outlines as they are; YOLOv8's index maps (DrawTargetMasks, PackPatch) are of no use to it.
pack = [dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1, 1)), dict(type='mmdet.PackDetInputs')]
train_pipeline = [*_base_.train_pipeline[:-2], *pack]
train_pipeline_no_mosaic = [*_base_.train_pipeline_no_mosaic[:-2], *pack]
train_dataloader = dict(collate_fn=dict(_delete_=True, type='pseudo_collate'))
del pack, norm_cfg, act_cfg
