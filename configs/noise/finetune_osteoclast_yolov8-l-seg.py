# Stage 3: segments osteoclasts, starting from stage 2's weights where they fit and from COCO's where they don't.
# Protocols (noise_m2m.py and so on) and new domains inherit from this file.
_base_ = '../baseline/yolov8-seg.py'

method = 'noise'
init_from = ['coco', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py']
