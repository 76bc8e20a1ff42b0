# Stage 1: finds nuclei, which are marked in a few patches of each mouse batch. When it ends, its best weights label all
# patches of its training batches for stage 2.
_base_ = [
    '../_base_/model_yolov8_det.py',
    '../_base_/data_nuclei.py',
    '../_base_/schedule.py',
    '../_base_/runtime.py',
]

train_batches = ['M1', 'M2', 'M3', 'M4', 'M5']
test_batches = []  # --fold B holds one out
init_from = ['coco']

default_hooks = dict(
    pseudo_labels=dict(
        type='NucleiPseudoLabelHook',
        batches='${train_batches}',
        data_root='${data_root}',
        pseudo_dir='${pseudo_dir}',
        score_thr=None,  # None: the one of maximum F1 on the validation patches
        uncertain_from=None,  # nuclei from this score to score_thr become regions to ignore; None: there are none
        box_px=36.0,  # all nuclei alike, as in the hand-made labels; 'predicted': as the detector says
    )
)
