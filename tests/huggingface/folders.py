"""Folders as ``save_pretrained`` writes them, with a tokenizer of a few words and an image processor."""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.huggingface.models import MODELS

WORDS = ["the", "cat", "sat", "on", "mat", "and", "dog", "ran", "to", "house"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZE = {"vocab_size": len(SPECIAL + WORDS)}


def save_tokenizer(folder, *, bert=False):
    words = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if bert:
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"} if bert else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **named).save_pretrained(folder)


def save(folder, name, *, dtype=torch.float32, **changes) -> Path:
    """A folder of the model called ``name``, with other weights than it is born with."""
    cls, config, said = MODELS[name]
    torch.manual_seed(0)
    size = {} if name == "ViT" else SIZE
    model = getattr(transformers, cls)(getattr(transformers, config)(**{**said, **size, **changes})).to(dtype)
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    model.save_pretrained(folder)
    if name == "ViT":
        transformers.ViTImageProcessorPil(
            size={"height": 4, "width": 4}, image_mean=[0.4], image_std=[0.3]
        ).save_pretrained(folder)
    else:
        save_tokenizer(folder, bert=name.startswith("BERT"))
    return Path(folder)


def text(num_words, seed=0):
    return " ".join(WORDS[n] for n in np.random.default_rng(seed).integers(len(WORDS), size=num_words))


def configure(folder, file="config.json", **changes):
    """Change config.json, or another; None takes an entry out."""
    path = Path(folder, file)
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


def save_images(folder, classes, *, gray=True):
    for number, name in enumerate(classes):
        for seed in range(2):
            place = Path(folder, name, f"{seed}.png")
            place.parent.mkdir(parents=True, exist_ok=True)
            shape = (9 + seed, 8 + number) if gray else (9, 8, 3)
            Image.fromarray(np.random.default_rng([number, seed]).integers(0, 256, shape, dtype=np.uint8)).save(place)
