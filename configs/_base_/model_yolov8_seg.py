# YOLOv8 instance segmentation: the detector with prototypes and mask coefficients.
_base_ = 'model_yolov8_det.py'

model = dict(
    bbox_head=dict(
        type='YOLOv8InsHead',
        overlap_masks=True,  # as in Ultralytics: one index map an image, small cells painted over large ones
        head_module=dict(type='YOLOv8InsHeadModule', num_protos=32, proto_channels=256),
    ),
    test_cfg=dict(
        mask_resolution='native',  # masks are scored and measured at the size of the patch
        whole_cell_padding=False,  # masks stay on their boxes where the input was padded
    ),
)
