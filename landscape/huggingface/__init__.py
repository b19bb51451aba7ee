"""Models of transformers: their loss as a mean over all tokens or examples, and their folders as problems.

``transformers`` (and ``peft`` for adapters) are imported where they are used: ``pip install
"landscape-geometry[hf]"``. Nothing is downloaded, and code in a folder is never run.

    objective   the loss of a model over batches of a tokenizer or collator, from Python
    loss_of     the same loss as a function of (model, batch), for a problem file
    problem     model, loss and data of a folder that ``save_pretrained`` or a Trainer wrote
    load_into   other weights of the same kind, as of the next checkpoint of a run
    under_own_names   weights for a model that a problem file brings
"""

from landscape.huggingface.folder import load_into, problem, under_own_names
from landscape.huggingface.loss import ModelLoss, loss_of, objective

__all__ = ["ModelLoss", "load_into", "loss_of", "objective", "problem", "under_own_names"]
