# The nano network on the sample cultures: what tools/quickstart.py trains, in minutes without a GPU.
_base_ = '../baseline/yolov8-seg.py'

model_size = 'n'
data_root = 'quickstart/data'
train_batches = ['M1']
test_batches = ['M2']
max_epochs = 30
batch_size = 8
num_workers = 2
cache = 'ram'
val_interval = 5
