# YOLOv8 detector: boxes only. Depth, width and channels of all parts follow from `size`, class counts from
# `num_classes` (noise_mm/models/yolov8_detector.py); what a part says itself is kept. Without `size` it is l, without
# `num_classes` 1; in a child config, model = dict(size='s').
model = dict(
    type='YOLOv8Detector',
    # Images are BGR, 0 to 255; the network sees RGB, 0 to 1.
    data_preprocessor=dict(type='YOLOv5DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True),
    norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
    backbone=dict(type='YOLOv8CSPDarknet'),
    neck=dict(type='YOLOv8PAFPN'),
    bbox_head=dict(type='YOLOv8DetHead', head_module=dict(type='YOLOv8DetHeadModule')),
    train_cfg=dict(assigner=dict(type='YOLOv8TaskAlignedAssigner')),
    test_cfg=dict(
        multi_label=True,
        score_thr=0.001,  # low, so that precision-recall curves are complete; tools/predict.py has its own
        nms_pre=30000,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=1000,  # a patch may hold 200 nuclei
    ),
)
