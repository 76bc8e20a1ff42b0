# Stage 1: patches with hand-marked nuclei as boxes, of the training batches only.
_base_ = 'data_osteoclast_boxes.py'

classes = ('nucleus',)
split_unit = 'well'  # or 'stored', as data_prep/import_nuclei.py divided the images; 'patch' mixes those of a well
later_validation = 'left_out'  # wells that stages 2 and 3 validate on are not used here; 'kept': they are
pseudo_dir = 'pseudo'  # where labels for stage 2 go, below data_root; see data_osteoclast_nuclei.py

train_dataloader = dict(dataset=dict(type='NucleiDataset', later_validation='${later_validation}'))
val_dataloader = dict(dataset=dict(type='NucleiDataset', later_validation='${later_validation}'))
test_dataloader = dict(dataset=dict(type='NucleiDataset'))
