# A domain of your own: copy this file, name your batches and what to start from. docs/new_domain.md goes through it.
_base_ = 'finetune_osteoclast_yolov8-l-seg.py'

protocol = 'own domain'
train_batches = ['A1', 'A2', 'A3']
test_batches = []  # each is held out in turn with --fold; or name batches that are only tested
init_from = ['noise/noise_m2h.py']  # the best checkpoint of that run; or a file such as 'checkpoints/noise_m2h.pth'
max_epochs = 50
