"""Moving average of the weights, one update a step of the optimizer."""

from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class StepEMAHook(EMAHook):
    """MMEngine's `EMAHook`, which with accumulated gradients would average the same weights several times.

    The averaged model is used for validation and is what a checkpoint holds under `state_dict`.
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Updates the average if this iteration changed the weights."""
        wrapper = runner.optim_wrapper
        # MMEngine's own wrappers say after an iteration whether it has been one of those that step.
        stepped = wrapper.stepped if hasattr(wrapper, 'stepped') else wrapper.should_update()
        if stepped:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
