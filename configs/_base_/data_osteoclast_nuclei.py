# Stage 2: patches with osteoclasts and weakly labelled nuclei, both as boxes.
_base_ = 'data_osteoclast_boxes.py'

classes = ('osteoclast', 'nucleus')
pseudo_dir = 'pseudo'  # below data_root; --fold B makes it pseudo/without_B, so that folds never share labels

labelled = dict(type='OsteoclastNucleiDataset', pseudo_dir='${pseudo_dir}', held_out='${test_batches}')
train_dataloader = dict(dataset=labelled, collate_fn=dict(type='collate_with_ignored'))
val_dataloader = dict(dataset=labelled)
test_dataloader = dict(dataset=labelled)
del labelled
