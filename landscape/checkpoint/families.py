"""Which family of models has names like these, and of what sizes: those of transformers, of timm, and ours."""

import re
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]
_TIMM = (  # what the names of a family have in common, and a model of it
    (r"patch_embed\.proj\.weight", r"blocks\.0\.attn\.qkv\.weight", "vit_base_patch16_224"),
    (r"stem\.0\.weight", r"stages\.0\.blocks\.0\.conv_dw\.weight", "convnext_tiny"),
    (r"conv_stem\.weight", r"blocks\.0\.0\.conv_dw\.weight", "efficientnet_b0"),
    (r"patch_embed\.proj\.weight", r"layers\.0\.blocks\.0\.attn\.qkv\.weight", "swin_tiny_patch4_window7_224"),
)
_TRANSFORMERS = (  # a name, the model that has it, its config, and which sizes of that which names tell, along an axis
    (
        r"(transformer\.)?h\.0\.attn\.c_attn\.weight",
        ("GPT2LMHeadModel", "GPT2Config"),
        "n_layer=h vocab_size=wte.weight:0 n_embd=wte.weight:1 n_positions=wpe.weight:0 num_labels=score.weight:0",
        "n_head",
    ),
    (
        r"(model\.)?layers\.0\.mlp\.gate_proj\.weight",
        ("LlamaForCausalLM", "LlamaConfig"),
        "num_hidden_layers=layers vocab_size=embed_tokens.weight:0 hidden_size=embed_tokens.weight:1 "
        "intermediate_size=0.mlp.up_proj.weight:0 num_labels=score.weight:0",
        "num_attention_heads",
    ),
    *(
        (
            rf"{prefix}encoder\.layer\.0\.attention\.self\.query\.weight",
            (f"{name}ForSequenceClassification", f"{name}Config"),
            "num_hidden_layers=layer vocab_size=word_embeddings.weight:0 hidden_size=word_embeddings.weight:1 "
            "max_position_embeddings=position_embeddings.weight:0 type_vocab_size=token_type_embeddings.weight:0 "
            "intermediate_size=0.intermediate.dense.weight:0 num_labels=classifier.weight:0",
            "num_attention_heads",
        )
        for prefix, name in ((r"roberta\.", "Roberta"), (r"(bert\.)?", "Bert"))
    ),
    (
        r"(vit\.)?encoder\.layer\.0\.attention\.attention\.query\.weight",
        ("ViTForImageClassification", "ViTConfig"),
        "num_hidden_layers=layer hidden_size=patch_embeddings.projection.weight:0 "
        "patch_size=patch_embeddings.projection.weight:2 intermediate_size=0.intermediate.dense.weight:0 "
        "num_labels=classifier.weight:0",
        "num_attention_heads",
    ),
    (
        r"encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight",
        ("T5ForConditionalGeneration", "T5Config"),
        "num_layers=encoder.block vocab_size=shared.weight:0 d_model=shared.weight:1 "
        "d_ff=encoder.block.0.layer.1.DenseReluDense.wo.weight:1 num_heads=relative_attention_bias.weight:1",
        "num_heads",
    ),
    (
        r"(distilbert\.)?transformer\.layer\.0\.attention\.q_lin\.weight",
        ("DistilBertForSequenceClassification", "DistilBertConfig"),
        "n_layers=layer vocab_size=word_embeddings.weight:0 dim=word_embeddings.weight:1 "
        "max_position_embeddings=position_embeddings.weight:0 hidden_dim=0.ffn.lin1.weight:0 "
        "num_labels=classifier.weight:0",
        "n_heads",
    ),
)
_HEAD_SIZE = 64  # of most transformers
_HEADS = (  # what is on the model, by a name that only this has
    (r"score\.weight", "ForSequenceClassification"),
    (r"(cls\.predictions|lm_head)\.(bias|transform\.dense\.weight)", "ForMaskedLM"),
    (r"qa_outputs\.weight", "ForQuestionAnswering"),
)


def transformers_or_timm(shapes: Shapes) -> tuple[str, list[str]] | None:
    """An import and the lines that make ``model``; None where the names are of neither library."""
    for pattern, (model, config), told, heads in _TRANSFORMERS:
        if not _has(shapes, pattern):
            continue
        pairs = [one.partition("=") for one in told.split()]
        sizes = {key: size for key, _, where in pairs if (size := _size(where, shapes))}
        width = next((sizes[key] for key in ("n_embd", "hidden_size", "d_model", "dim") if key in sizes), 0)
        sizes.setdefault(heads, max(width // _HEAD_SIZE, 1))
        if suffix := next((suffix for pattern, suffix in _HEADS if _has(shapes, pattern)), ""):
            model = re.sub("(LMHeadModel|For[A-Z].*)$", suffix, model)
        arguments = ", ".join(f"{key}={size}" for key, size in sizes.items())
        return "import transformers", [
            f"# TODO look at {heads}, which no name tells, and at what else of {config} is not the default",
            f"config = transformers.{config}({arguments})",
            f"model = transformers.{model}(config)",
        ]
    for first, second, name in _TIMM:
        if _has(shapes, first) and _has(shapes, second):
            return "import timm", ["# TODO which of the family", f'model = timm.create_model("{name}")']
    return None


def ours(shapes: Shapes) -> list[str] | None:
    """The lines that make one of the plain models and wide ResNets of ``landscape.models``."""
    if all(re.fullmatch(r"linear\d+\.(weight|bias)", name) for name in shapes):
        weights = [shape for shape in shapes.values() if len(shape) == 2]
        hidden = tuple(shape[0] for shape in weights[:-1])
        return _built("mlp", (weights[0][1],), weights[-1][0], f"hidden={hidden}") if weights else None
    conv = shapes.get("conv1.weight", ())
    if len(conv) != 4:
        return None
    images = (conv[1], 32, 32)
    if "norm2.weight" in shapes and "linear.weight" in shapes:
        return _built("cnn", images, shapes["linear.weight"][0], f"width={conv[0]}")
    if num := _size("block1.layer", shapes):
        width = shapes.get("block1.layer.0.conv1.weight", (16,))[0] // 16
        return _built("wide-resnet", images, _size("fc.weight:0", shapes), f"depth={6 * num + 4}, width={width}")
    return None


def _built(name: str, input_shape: tuple[int, ...], num_classes: int, more: str) -> list[str]:
    return [
        f"# TODO whether {name} it is, and of which inputs",
        f'model = build_model("{name}", input_shape={input_shape}, num_classes={num_classes}, {more})',
    ]


def _has(shapes: Shapes, pattern: str) -> bool:
    return any(re.search(rf"(^|\.){pattern}$", name) for name in shapes)


def _size(where: str, shapes: Shapes) -> int:
    """How many modules are numbered under a name, or the size of a tensor along an axis; 0 where there is none."""
    name, _, axis = where.partition(":")
    if not axis:
        found = (re.search(rf"(?:^|\.){re.escape(name)}\.(\d{{1,4}})\.", one) for one in shapes)
        return max((int(match[1]) + 1 for match in found if match), default=0)
    for one, shape in shapes.items():
        if f".{one}".endswith(f".{name}") and len(shape) > int(axis):
            return shape[int(axis)]
    return 0
