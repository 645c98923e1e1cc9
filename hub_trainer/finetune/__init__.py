"""Fine-tuning of any torch model on Accelerate: `fine_tune` is the entry that tasks call."""

from hub_trainer.finetune.arguments import assert_world_size, training_arguments
from hub_trainer.finetune.batches import padding_collate
from hub_trainer.finetune.checkpoints import Checkpoint, newest_valid_checkpoint
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.methods import (
    TrainableReport,
    apply_method,
    merge_adapter,
    quantization_config,
)
from hub_trainer.finetune.objective import LabelObjective
from hub_trainer.finetune.plan import (
    EarlyStopping,
    FitData,
    FitPlan,
    MethodName,
    Objective,
)
from hub_trainer.finetune.progress import StepProgress
from hub_trainer.finetune.report import FitReport

__all__ = [
    "Checkpoint",
    "EarlyStopping",
    "FitData",
    "FitPlan",
    "FitReport",
    "LabelObjective",
    "MethodName",
    "Objective",
    "StepProgress",
    "TrainableReport",
    "apply_method",
    "assert_world_size",
    "fine_tune",
    "merge_adapter",
    "newest_valid_checkpoint",
    "padding_collate",
    "quantization_config",
    "training_arguments",
]
