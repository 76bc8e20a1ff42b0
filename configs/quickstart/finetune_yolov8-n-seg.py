# The nano network of weights/, finetuned on a few dozen patches in a minute or two: tools/quickstart.py.
_base_ = 'yolov8-n-seg.py'

init_from = ['weights/cultures-n-seg.pth']
max_epochs = 12
val_interval = 3

# Rates at which the weights keep what they know.
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.0005))
default_hooks = dict(param_scheduler=dict(warmup_min_iters=20))
model = dict(norm_cfg=dict(momentum=0.03))
