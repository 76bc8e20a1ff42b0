# Stage 2: patches with osteoclasts and weakly labelled nuclei, both as boxes. All else is as in stage 1.
_base_ = 'data_nuclei.py'

classes = ('osteoclast', 'nucleus')
split_unit = 'well'  # as in stage 3, whose validation wells are then not trained on here either
train_dataloader = dict(dataset=dict(type='OsteoclastNucleiDataset'))
val_dataloader = dict(dataset=dict(type='OsteoclastNucleiDataset'))
test_dataloader = dict(dataset=dict(type='OsteoclastNucleiDataset'))
