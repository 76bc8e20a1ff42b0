# YOLOv8's schedule. What follows from these values (optimizer, rates of every iteration, accumulation up to 64 images
# a step, end of mosaic) is worked out when the run starts, so changing max_epochs or batch_size here, in a child
# config or by --cfg-options is enough.

# --- often changed
max_epochs = 100
nominal_batch_size = 64  # images per step of the optimizer; fewer for a dataset of a few hundred patches
val_interval = 1  # epochs from one validation to the next

# --- sometimes changed
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs='${max_epochs}', val_interval='${val_interval}')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# --- hardly ever changed
optim_wrapper = dict(
    type='YOLOv8OptimWrapper',
    constructor='YOLOv5OptimizerConstructor',
    # auto: AdamW for up to 10,000 steps, SGD for more, as Ultralytics' optimizer=auto
    optimizer=dict(type='auto', weight_decay=0.0005),
    clip_grad=dict(max_norm=10.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=64)
runner_type = 'YOLOv8Runner'
