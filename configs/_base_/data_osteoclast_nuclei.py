# Stage 2: patches with osteoclasts and weakly labelled nuclei, both as boxes. All else is as in stage 1.
_base_ = 'data_nuclei.py'

classes = ('osteoclast', 'nucleus')
pseudo_dir = 'pseudo'  # below data_root; --fold B makes it pseudo/without_B, so that folds never share labels

pseudo = dict(type='OsteoclastNucleiDataset', pseudo_dir=pseudo_dir, held_out=[])
train_dataloader = dict(dataset=dict(**pseudo, later_validation=None))
val_dataloader = dict(dataset=dict(**pseudo, later_validation=None))
test_dataloader = dict(dataset=pseudo)
del pseudo
