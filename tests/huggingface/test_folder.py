"""A folder of transformers with data is a problem: the numbers of its own model, and what is refused by name."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.data import DataError
from landscape.huggingface import library
from landscape.problem import Problem
from tests.huggingface.folders import SIZE, configure, save, save_images, save_tokenizer, text
from tests.huggingface.models import MODELS


def problem_of(folder, data, **how):
    return Problem.of(load_checkpoint(folder), data=data, **how)


def own(folder, cls):
    return getattr(transformers, cls).from_pretrained(folder, local_files_only=True).eval()


@pytest.mark.parametrize("num_words", [20, 24, 25, 26])
def test_packed_text_is_cut_into_blocks_and_the_short_one_counts(tmp_path, num_words):
    folder = save(tmp_path / "gpt2", "GPT-2")
    (tmp_path / "a.txt").write_text(text(num_words))
    made = problem_of(folder, f"text:{tmp_path}/a.txt", context=6).objective("test")
    ids = (
        own(folder, "GPT2LMHeadModel"),
        transformers.AutoTokenizer.from_pretrained(folder)(text(num_words))["input_ids"],
    )
    model, ids = ids
    losses = []
    for start in range(0, num_words, 6):
        block = torch.tensor([ids[start : start + 6]])
        logits = model(block).logits[0].log_softmax(-1)
        losses += [-logits[t, block[0, t + 1]] for t in range(block.shape[1] - 1)]
    assert made.num_examples == len(losses)
    assert made.value() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert made.model.training is False
    assert "lm_head.weight" not in made.names


def test_lines_and_columns_of_text_are_padded_texts_of_their_own(tmp_path):
    folder = save(tmp_path / "llama", "Llama")
    lines = [text(n, n) for n in (5, 2, 1, 4)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines))
    (tmp_path / "a.csv").write_text("label,text\n" + "".join(f"0,{line}\n" for line in lines))
    by_line = problem_of(folder, f"lines:{tmp_path}/a.txt").objective("test")
    by_row = problem_of(folder, f"csv:{tmp_path}/a.csv").objective("test")
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), own(folder, "LlamaForCausalLM")
    ids = [torch.tensor([tokenizer(line)["input_ids"]]) for line in lines]
    sums = [model(one, labels=one).loss.detach() * (one.shape[1] - 1) for one in ids if one.shape[1] > 1]
    assert by_line.num_examples == by_row.num_examples == 4 + 1 + 3
    assert by_line.value() == pytest.approx(float(sum(sums)) / 8, rel=1e-5)
    assert by_row.value() == by_line.value()


@pytest.mark.parametrize("labels", ["names", "numbers"])
@pytest.mark.parametrize("pair", [False, True])
def test_a_table_of_labelled_texts(tmp_path, labels, pair):
    names = {"bad": 0, "fair": 1, "good": 2}
    folder = save(
        tmp_path / "bert",
        "BERT, classes",
        type_vocab_size=2,
        max_position_embeddings=16,
        label2id=names,
        id2label={v: k for k, v in names.items()},
    )
    rows = [(text(n, n), text(2, n), list(names)[n % 3]) for n in (5, 2, 3, 4)]
    header = "sentence1\tsentence2\tlabel\n" if pair else "text\tlabel\n"
    written = [
        [a, b, c] if pair else [a, c]
        for a, b, c in ((a, b, c if labels == "names" else str(names[c])) for a, b, c in rows)
    ]
    (tmp_path / "train.tsv").write_text(header + "\n".join("\t".join(row) for row in written))
    made = problem_of(folder, f"csv:{tmp_path}").objective("train")
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), own(folder, "BertForSequenceClassification")
    losses = []
    for a, b, c in rows:
        given = tokenizer(a, b, return_tensors="pt") if pair else tokenizer(a, return_tensors="pt")
        losses.append(model(**given, labels=torch.tensor([names[c]])).loss.detach())
    assert made.value() == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert made.num_examples == 4
    assert made.classifies


def test_a_table_of_numbers_for_a_regression(tmp_path):
    folder = save(tmp_path / "bert", "BERT, classes", num_labels=1)
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0.5\nthe dog ran,-2\n")
    made = problem_of(folder, f"csv:{tmp_path}/a.csv").objective("test")
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), own(folder, "BertForSequenceClassification")
    found = [model(**tokenizer(t, return_tensors="pt")).logits.item() for t in ("the cat", "the dog ran")]
    assert made.value() == pytest.approx(((found[0] - 0.5) ** 2 + (found[1] + 2) ** 2) / 2, rel=1e-4)


def test_a_classifier_without_a_padding_token_reads_each_text_alone(tmp_path):
    config = transformers.GPT2Config(
        vocab_size=14, n_positions=8, n_embd=4, n_layer=1, n_head=2, num_labels=2, bos_token_id=1, eos_token_id=1
    )
    torch.manual_seed(0)
    model = transformers.GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "gpt2")
    save_tokenizer(tmp_path / "gpt2")
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0\nthe dog ran,1\nmat,1\n")
    made = problem_of(tmp_path / "gpt2", f"csv:{tmp_path}/a.csv").objective("test")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")
    pairs = [("the cat", 0), ("the dog ran", 1), ("mat", 1)]
    losses = [model(**tokenizer(t, return_tensors="pt"), labels=torch.tensor([y])).loss.item() for t, y in pairs]
    assert made.value() == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize(("kind", "side"), [("FNet", "right"), ("XLNet", "right"), ("GPT2", "left"), ("Bert", "left")])
def test_texts_whose_losses_padding_changes_are_measured_alone(tmp_path, kind, side):
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "max_position_embeddings": 16}
    said = {
        "FNet": sizes,
        "XLNet": {"d_model": 4, "d_inner": 4, "n_layer": 1, "n_head": 2},
        "GPT2": {"n_embd": 4, "n_layer": 1, "n_head": 2, "n_positions": 16},
        "Bert": {**sizes, "num_attention_heads": 2},
    }[kind]
    cls = getattr(transformers, f"{kind}ForSequenceClassification")
    torch.manual_seed(0)
    model = cls(cls.config_class(**said, **SIZE, num_labels=3, pad_token_id=0)).eval()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    model.save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model", bert=True)
    configure(tmp_path / "model", "tokenizer_config.json", padding_side=side)
    texts = [text(n, n) for n in (3, 5, 9)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{one},{n}\n" for n, one in enumerate(texts)))
    with pytest.warns(UserWarning, match=f"Padding changes the losses of {kind}ForSeq.*each text is measured alone"):
        problem = problem_of(tmp_path / "model", f"csv:{tmp_path}/a.csv")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    losses = []
    for n, one in enumerate(texts):
        given = {
            k: v for k, v in tokenizer(one, return_tensors="pt").items() if kind != "FNet" or k != "attention_mask"
        }
        losses.append(model(**given, labels=torch.tensor([n])).loss.item())
    assert problem.objective("test").value() == pytest.approx(np.mean(losses), rel=1e-5)
    fewer = [problem.objective("test", num_samples=1, seed=seed).value() for seed in range(3)]
    assert all(min(abs(one - loss) for loss in losses) < 1e-5 for one in fewer)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["0.0", "1.0", "2.0"], [0, 1, 2]),  # as pandas writes them
        (["1", "2", "3"], [0, 1, 2]),  # the names
        (["0", "1", "2"], [0, 1, 2]),  # not all of them are names
    ],
)
def test_labels_are_all_names_or_all_numbers(tmp_path, words, numbers):
    names = {"1": 0, "2": 1, "3": 2}
    folder = save(tmp_path / "bert", "BERT, classes", label2id=names, id2label={v: k for k, v in names.items()})
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"the cat,{word}\n" for word in words))
    problem = problem_of(folder, f"csv:{tmp_path}/a.csv")
    assert problem.splits["test"].columns["labels"].tolist() == numbers


@pytest.mark.parametrize("word", ["x", "nan", "inf", "1,5"])
def test_a_regression_needs_numbers(tmp_path, word):
    folder = save(tmp_path / "bert", "BERT, classes", num_labels=1)
    (tmp_path / "a.csv").write_text(f'text,label\nthe cat,"{word}"\n')
    with pytest.raises(DataError, match=f"has the label '{word}'. Expected a number"):
        problem_of(folder, f"csv:{tmp_path}/a.csv")


def test_a_tokenizer_of_its_own_is_read_as_it_is(tmp_path):
    """Also where transformers has another way to cut words for models of its kind."""
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Qwen2Config(**sizes, **SIZE, num_key_value_heads=1, max_position_embeddings=8)
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "qwen")
    save_tokenizer(tmp_path / "qwen")
    (tmp_path / "a.txt").write_text("the cat sat\n")
    problem = problem_of(tmp_path / "qwen", f"lines:{tmp_path}/a.txt")
    assert problem.splits["test"].columns["input_ids"].tolist() == [[4, 5, 6]]


@pytest.mark.parametrize("name", ["Mamba2", "Rwkv"])
def test_recurrent_models(tmp_path, name):
    """One has Infinity in its configuration, the other writes to its cache in place."""
    said = {
        "Mamba2": {"state_size": 4, "num_heads": 4, "head_dim": 2, "n_groups": 1, "chunk_size": 4},
        "Rwkv": {"attention_hidden_size": 4, "context_length": 8},
    }[name]
    cls = getattr(transformers, f"{name}ForCausalLM")
    cls(cls.config_class(**said, **SIZE, hidden_size=4, num_hidden_layers=2)).save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    (tmp_path / "a.txt").write_text(text(20))
    made = problem_of(tmp_path / "model", f"text:{tmp_path}/a.txt", context=8).objective("test")
    assert torch.isfinite(made.gradient()).all()


def test_a_model_that_returns_tuples(tmp_path):
    folder = save(tmp_path / "bert", "BERT, classes")
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0\nthe dog ran,2\n")
    expected = problem_of(folder, f"csv:{tmp_path}/a.csv").objective("test").value()
    configure(folder, return_dict=False)
    assert problem_of(folder, f"csv:{tmp_path}/a.csv").objective("test").value() == expected


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_images_as_the_processor_in_the_folder_makes_them(tmp_path, named, alone):
    classes = ["a", "b", "c"]
    labels = {"c": 0, "b": 1, "a": 2} if named else {}
    folder = save(
        tmp_path / "vit",
        "ViT",
        **({"label2id": labels, "id2label": {v: k for k, v in labels.items()}} if named else {}),
    )
    save_images(tmp_path / "images" / ("" if alone else "train"), classes)
    split = "test" if alone else "train"
    made = problem_of(folder, f"images:{tmp_path}/images").objective(split)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model, losses = own(folder, "ViTForImageClassification"), []
    for number, name in enumerate(classes):
        for file in sorted((tmp_path / "images").glob(f"**/{name}/*.png")):
            pixels = processor(
                np.asarray(Image.open(file))[None], return_tensors="pt", input_data_format="channels_first"
            )
            target = torch.tensor([labels.get(name, number)])
            losses.append(model(**pixels, labels=target).loss.detach())
    assert made.value() == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert made.num_examples == 6
    assert made.classifies


def test_hidden_files_and_folders_are_no_images(tmp_path):
    folder = save(tmp_path / "vit", "ViT")
    save_images(tmp_path / "images", ["a", "b", "c"])
    expected = problem_of(folder, f"images:{tmp_path}/images").objective("test").value()
    (tmp_path / "images/.ipynb_checkpoints").mkdir()
    (tmp_path / "images/a/._0.png").write_bytes(b"not an image")
    assert problem_of(folder, f"images:{tmp_path}/images").objective("test").value() == expected


def test_a_classifier_whose_output_has_no_loss(tmp_path):
    _, _, said = MODELS["ViT"]
    model = transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**said)).eval()
    model.save_pretrained(tmp_path / "deit")
    processor = transformers.ViTImageProcessorPil(size={"height": 4, "width": 4}, image_mean=[0.4], image_std=[0.3])
    processor.save_pretrained(tmp_path / "deit")
    save_images(tmp_path / "images", ["a", "b", "c"])
    made = problem_of(tmp_path / "deit", f"images:{tmp_path}/images").objective("test")
    x, y = next(iter(made.data))
    assert made.value() == pytest.approx(torch.nn.functional.cross_entropy(model(x).logits, y).item(), rel=1e-5)


def test_images_in_parquet_are_the_same(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = save(tmp_path / "vit", "ViT")
    save_images(tmp_path / "images", ["0", "1", "2"])
    files = sorted((tmp_path / "images").glob("*/*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    table = arrow.table({"image": images, "label": [int(file.parent.name) for file in files]})
    parquet.write_table(table, tmp_path / "train-00000.parquet")
    expected = problem_of(folder, f"images:{tmp_path}/images").objective("test")
    for path in (tmp_path, tmp_path / "train-00000.parquet"):
        assert problem_of(folder, f"parquet:{path}").objective("train").value() == expected.value()


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_an_adapter_is_measured_on_the_base_that_it_names(tmp_path, task):
    """Its own parameters are those measured; a head that only the adapter has comes from it."""
    base = save(tmp_path / "base", "GPT-2" if task == "CAUSAL_LM" else "BERT, body")
    auto = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_CLS": "AutoModelForSequenceClassification"}[task]
    targets = {"CAUSAL_LM": ["c_attn"], "SEQ_CLS": ["query"]}[task]
    with library.quiet():
        how = {"num_labels": 3} if task == "SEQ_CLS" else {}
        model = getattr(transformers, auto).from_pretrained(base, **how)
        model = peft.get_peft_model(model, peft.LoraConfig(task_type=task, r=2, target_modules=targets)).eval()
        for p in model.parameters():
            p.data += 0.3 * torch.randn_like(p) if p.requires_grad else 0
        model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "a.txt").write_text(text(20))
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0\nthe dog ran,2\n")
    data = f"text:{tmp_path}/a.txt" if task == "CAUSAL_LM" else f"csv:{tmp_path}/a.csv"
    problem = problem_of(tmp_path / "adapter", data)
    made = problem.objective("test")
    batch = next(iter(made.data))
    with torch.no_grad():
        losses = made.loss_terms.function(model, batch).losses
    assert made.value() == pytest.approx(float(losses.mean()), rel=1e-6)
    assert made.num_params == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert all("lora" in one or "classifier" in one for one in made.names)

    own = load_file(tmp_path / "adapter/adapter_model.safetensors")
    save_file({key: value + 1 for key, value in own.items()}, tmp_path / "adapter/adapter_model.safetensors")
    before = made.value()
    problem.load(load_checkpoint(tmp_path / "adapter"))
    assert made.value() != before
    save_file(dict(list(own.items())[1:]), tmp_path / "adapter/adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: |does not fit"):
        problem_of(tmp_path / "adapter", data)


@pytest.mark.filterwarnings("ignore:.*past_key_values:FutureWarning")  # of transformers, to peft
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig", "PrefixTuningConfig"])
def test_an_adapter_that_is_a_prompt(tmp_path, kind):
    """Its embeddings are what is saved and trained; the first token of a text has one before it to be predicted by."""
    base = save(tmp_path / "base", "GPT-2", n_positions=16)
    how = {"encoder_hidden_size": 4} if kind == "PromptEncoderConfig" else {}
    if kind == "PrefixTuningConfig":
        how = {"encoder_hidden_size": 4, "prefix_projection": True}
    with library.quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = peft.get_peft_model(
            model, getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=2, **how)
        ).eval()
        for p in model.parameters():
            p.data += 0.3 * torch.randn_like(p) if p.requires_grad else 0
        model.save_pretrained(tmp_path / "adapter")
    lines = [text(n, n) for n in (5, 2, 8)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    made = problem_of(tmp_path / "adapter", f"lines:{tmp_path}/a.txt").objective("test")
    tokenizer, total, count = transformers.AutoTokenizer.from_pretrained(base), 0.0, 0
    for line in lines:
        ids = tokenizer(line, return_tensors="pt")["input_ids"]
        counted = ids.shape[1] - (kind == "PrefixTuningConfig")
        with library.quiet():
            total, count = total + model(input_ids=ids, labels=ids).loss.item() * counted, count + counted
    assert made.num_examples == count
    assert made.value() == pytest.approx(total / count, rel=1e-5)
    assert made.names == ["prompt_encoder.default.embedding.weight"]


def test_samples_other_weights_and_the_fingerprint(tmp_path):
    folder, other = save(tmp_path / "gpt2", "GPT-2"), save(tmp_path / "other", "GPT-2")
    weights = load_file(other / "model.safetensors")
    save_file({key: value * 1.5 for key, value in weights.items()}, other / "model.safetensors", {"format": "pt"})
    (tmp_path / "a.txt").write_text(text(60))
    data = f"text:{tmp_path}/a.txt"
    problem = problem_of(folder, data)
    made = problem.objective("test")
    assert problem.objective("test", num_samples=3).num_examples == 15
    of_both = [problem.fingerprint()["data"]["test"], made.fingerprint()["data"]]
    assert of_both[0] == of_both[1] == problem_of(other, data).fingerprint()["data"]["test"]
    assert problem_of(folder, data, context=5).fingerprint()["data"]["test"] != of_both[0]
    before = made.value()
    problem.load(load_checkpoint(other))
    assert made.value() == problem_of(other, data).objective("test").value() != before
    assert torch.equal(
        load_checkpoint(folder).state["model"]["transformer.wte.weight"], weights["transformer.wte.weight"]
    )


def test_weights_are_measured_in_their_own_dtype_and_without_what_the_class_does_not_have(tmp_path):
    folder = save(tmp_path / "bert", "BERT, masked")
    weights = load_file(folder / "model.safetensors")
    configure(folder, dtype="bfloat16")  # which would round them
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0\n")
    weights |= {"bert.pooler.dense.weight": torch.eye(4), "bert.pooler.dense.bias": torch.ones(4)}
    weights |= {
        "classifier.weight": torch.ones(3, 4),
        "classifier.bias": torch.ones(3),
        "cls.seq.weight": torch.ones(2),
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    configure(folder, architectures=["BertForSequenceClassification"], id2label={0: "x", 1: "y", 2: "z"})
    with pytest.warns(UserWarning, match="does not use cls"):
        problem = problem_of(folder, f"csv:{tmp_path}/a.csv")
    assert {p.dtype for p in problem.model.parameters()} == {torch.float32}
    assert torch.equal(problem.model.classifier.weight, torch.ones(3, 4))


def drop(*names):
    def change(folder):
        weights = load_file(folder / "model.safetensors")
        kept = {key: value for key, value in weights.items() if not key.startswith(names)}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})

    return change


def add(**tensors):
    def change(folder):
        weights = load_file(folder / "model.safetensors") | {k.replace("__", "."): v for k, v in tensors.items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return change


def said(**changes):
    return lambda folder: configure(folder, **changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("classifier"), r"missing: classifier.bias, classifier.weight.*nothing is made up"),
        (drop("bert.encoder"), "missing: bert.encoder.layer.0"),
        (
            add(bert__pooler__dense__bias=torch.ones(5)),
            r"another shape: bert.pooler.dense.bias is \(5,\), expected \(4,\)",
        ),
        (add(bert__encoder__layer__1__output__dense__bias=torch.ones(4)), "unexpected: bert.encoder.layer.1"),
        (add(bert__pooler__dense__scale=torch.ones(4)), "unexpected: bert.pooler.dense.scale"),
        (
            add(bert__pooler__dense__bias=torch.ones(4).long()),
            "no floating numbers: bert.pooler.dense.bias is torch.int64",
        ),
        (said(architectures=["BertForMaskedLM"]), "missing: cls.predictions.*BertForMaskedLM|BertForMaskedLM.*missing"),
        (said(architectures=["BertModel"]), "BertModel has no loss"),
        (said(architectures=None), "does not name its model_type and one of architectures.*--problem"),
        (said(architectures=["Missing"]), "is a Missing .bert., which transformers .* does not have"),
        (said(architectures=["AutoTokenizer"]), "is a AutoTokenizer"),
        (said(model_type="missing"), "missing"),
        (said(auto_map={"AutoModel": "evil.Evil"}), "code of its own .*not run.*--problem"),
        (said(quantization_config={"quant_method": "gptq"}), r"quantized \(gptq\)"),
        (said(hidden_size=5), "BertForSequenceClassification that cannot be built: .*5"),
        (said(hidden_size=10**6), "cannot be built: it has many more parameters than the file"),
        (said(hidden_size="four"), "cannot be built|makes no sense"),
        (said(problem_type="multi_label_classification"), "several labels a text.*--problem"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer that cannot be read"),
        (lambda folder: [f.unlink() for f in folder.glob("token*")], "has no tokenizer.*save_pretrained"),
    ],
)
def test_what_is_not_all_there_is_refused_by_name(tmp_path, change, says):
    folder = save(tmp_path / "bert", "BERT, classes")
    (tmp_path / "a.csv").write_text("text,label\nthe cat,0\n")
    change(folder)
    with pytest.raises((CheckpointError, DataError), match=says) as error:
        problem_of(folder, f"csv:{tmp_path}/a.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "context", "says"),
    [
        ("GPT-2", None, None, "is a GPT2LMHeadModel, and does not say of which data. Give --data text:FILE"),
        ("GPT-2", "text", None, "Expected one of: text:PATH"),
        ("GPT-2", "digits", None, "Expected one of: text:PATH"),
        ("GPT-2", "text:missing.txt", None, "text: not found in missing.txt. Expected a file"),
        ("GPT-2", "text:empty.txt", None, "holds no text"),
        ("GPT-2", "text:one.txt", None, "a text of 1 tokens. Expected at least two"),
        ("GPT-2", "text:latin.txt", None, "UTF-8"),
        ("GPT-2", "text:a.txt", 7, "--context 7 is out of range. Expected 2 to 6"),
        ("GPT-2", "text:a.txt", 1, "Expected 2 to 6"),
        ("GPT-2", "images:images", None, "for a classifier of images, and GPT2LMHeadModel is a causal language model"),
        ("BERT, masked", "text:a.txt", None, "BertForMaskedLM is a masked language model. Give --problem"),
        ("T5", "text:a.txt", None, "sequence-to-sequence model. Give --problem"),
        ("BERT, classes", "text:a.txt", None, "Give csv:PATH"),
        ("BERT, classes", "csv:nolabel.csv", None, "has columns text, kind. Expected label"),
        ("BERT, classes", "csv:label.csv", None, "the label '7'. Expected LABEL_0, LABEL_1, LABEL_2, or their numbers"),
        ("BERT, classes", "csv:ragged.csv", None, "row 2 has 1 fields. Expected 2"),
        ("BERT, classes", "csv:header.csv", None, "no rows below its header"),
        ("ViT", "images:missing", None, "not found in missing. Expected train/CLASS"),
        ("ViT", "images:images", 4, "--context is of texts"),
        ("ViT", "images:two", None, r"of the class a, of 2, and the model has 3: LABEL_0"),
        ("ViT", "images:colour", None, "has 3 channels. Expected 1"),
    ],
)
def test_data_that_are_not_there_or_for_another_model(tmp_path, monkeypatch, name, data, context, says):
    folder = save(tmp_path / "model", name)
    monkeypatch.chdir(tmp_path)
    files = {"a.txt": text(9), "empty.txt": " \n", "one.txt": "cat", "nolabel.csv": "text,kind\na,b\n"}
    files |= {"label.csv": "text,label\na,7\n", "ragged.csv": "text,label\na,0\nb\n", "header.csv": "text,label\n"}
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    save_images("images", "abc")
    save_images("two", "ab")
    save_images("colour", "abc", gray=False)
    with pytest.raises(ValueError, match=says) as error:
        problem_of(folder, data, context=context)
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = save(tmp_path / "gpt2", "GPT-2", vocab_size=8)
    (tmp_path / "a.txt").write_text(text(30))
    with pytest.raises(DataError, match=r"tokens up to 13, and the model knows 8.*trained with"):
        problem_of(folder, f"text:{tmp_path}/a.txt")


def test_texts_that_are_too_long_are_cut_and_that_is_said(tmp_path):
    folder = save(tmp_path / "bert", "BERT, classes")
    (tmp_path / "a.csv").write_text(f"text,label\nthe cat,0\n{text(9)},1\n")
    with pytest.warns(UserWarning, match="1 of 2 texts are cut after 6 tokens"):
        problem_of(folder, f"csv:{tmp_path}/a.csv")


def test_an_adapter_of_what_is_not_here(tmp_path):
    said = {"base_model_name_or_path": "someone/gpt2", "peft_type": "LORA", "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    save_file({"base_model.model.h.lora_A.weight": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="adapter of someone/gpt2, which is no folder here"):
        problem_of(tmp_path, "text:a.txt")
