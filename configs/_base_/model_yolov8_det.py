# YOLOv8 detector: boxes only. Any size and any classes; both follow when the config is read by this project's tools
# (noise_mm/configuration.py): the size from the setting below, the classes from `classes` of the data config.

# --- often changed
model_size = 'l'  # n, s, m, l or x

# --- hardly ever changed
norm_cfg = dict(type='BN', momentum=0.03, eps=0.001)
model = dict(
    type='YOLODetector',
    # Images are BGR, 0 to 255; the network sees RGB, 0 to 1.
    data_preprocessor=dict(type='YOLOv5DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True),
    # The three factors below are those of size l.
    backbone=dict(
        type='YOLOv8CSPDarknet', deepen_factor=1.0, widen_factor=1.0, last_stage_out_channels=512, norm_cfg=norm_cfg
    ),
    neck=dict(
        type='YOLOv8PAFPN',
        deepen_factor=1.0,
        widen_factor=1.0,
        in_channels=[256, 512, 512],
        out_channels=[256, 512, 512],
        num_csp_blocks=3,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type='YOLOv8DetHead',
        head_module=dict(
            type='YOLOv8DetHeadModule',
            num_classes=1,
            in_channels=[256, 512, 512],
            widen_factor=1.0,
            featmap_strides=[8, 16, 32],
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(assigner=dict(type='YOLOv8TaskAlignedAssigner', num_classes=1)),
    test_cfg=dict(
        multi_label=True,
        score_thr=0.001,  # low, so that precision-recall curves are complete; tools/predict.py has its own
        nms_pre=30000,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=1000,  # a patch may hold 200 nuclei
    ),
)
