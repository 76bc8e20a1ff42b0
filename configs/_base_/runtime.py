# What a run writes and how it starts.

default_scope = 'mmyolo'
custom_imports = dict(imports=['noise_mm.register'])  # so that MMDetection's own tools can use these configs, too

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='YOLOv8ScheduleHook'),
    # also keeps the best one as best.pth
    checkpoint=dict(
        type='BestCheckpointHook',
        interval=1,
        save_best='${best_metric}',
        rule='greater',
        max_keep_ckpts=2,
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    sample_seed=dict(type='EpochSeedHook'),
    visualization=dict(type='mmdet.DetVisualizationHook'),  # draws nothing unless it is told draw=True
    # A child config changes one of these by name, removes it with None, and adds others here or in custom_hooks.
    ema=dict(type='StepEMAHook', ema_type='ExpMomentumEMA', momentum=0.0001, update_buffers=True, priority=49),
    close_mosaic=dict(type='CloseMosaicHook', num_last_epochs=10, switch_pipeline='${train_pipeline_no_mosaic}'),
    finite_loss=dict(type='FiniteLossHook', interval=10),
    early_stopping=dict(
        type='ResumableEarlyStoppingHook', monitor='${best_metric}', rule='greater', patience=50, min_delta=0.0
    ),
)

env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
visualizer = dict(type='mmdet.DetLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
randomness = dict(seed=0, deterministic=False)
load_from = None
resume = False
