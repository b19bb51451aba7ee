"""The papers' networks: parameter counts, names, shapes, and second derivatives against finite differences."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from landscape.models import build_model
from landscape.objective import Objective
from landscape.operators import Hessian
from tests.models.published import FORWARD

CIFAR10 = {"input_shape": (3, 32, 32), "num_classes": 10}
IMAGENET = {"input_shape": (3, 224, 224), "num_classes": 1000}

# Published counts: ResNets as github.com/kuangliu/pytorch-cifar and torchvision; WRNs as arXiv:1605.07146 rounds them
# (36.5, 11.0, 1.5 million); VGG-19 and PyramidNets with basic blocks or depth 164 as in the tables of the imgclsmob and
# pytorch-classification collections; ViTs as timm counts them; GPT-2 as released.
PUBLISHED = [
    ("resnet18", CIFAR10, {}, 11_173_962),
    ("resnet50", CIFAR10, {}, 23_520_842),
    ("resnet101", CIFAR10, {}, 42_512_970),
    ("resnet18", IMAGENET, {"stem": "imagenet"}, 11_689_512),
    ("resnet50", IMAGENET, {"stem": "imagenet"}, 25_557_032),
    ("resnet101", IMAGENET, {"stem": "imagenet"}, 44_549_160),
    ("wrn-28-10", CIFAR10, {}, 36_479_194),
    ("wrn-16-8", CIFAR10, {}, 10_961_370),
    ("wrn-28-2", CIFAR10, {}, 1_467_610),
    ("vgg19", CIFAR10, {}, 20_040_522),
    ("pyramidnet", CIFAR10, {"alpha": 84, "bottleneck": False}, 3_904_446),
    ("pyramidnet", CIFAR10, {"alpha": 270, "bottleneck": False}, 28_485_477),
    ("pyramidnet", CIFAR10, {"depth": 164}, 27_216_021),
    ("vit-small", IMAGENET, {"patch": 16}, 22_050_664),
    ("vit-small", IMAGENET, {"patch": 16, "width": 768, "num_heads": 12}, 86_567_656),
    (
        "gpt",
        {"input_shape": (1024,), "num_classes": 50257},
        {"width": 768, "depth": 12, "num_heads": 12},
        124_439_808,
    ),
]
# Counts that nobody published, added up here by hand.
BLOCK_384 = 2 * 2 * 384 + (384 + 1) * 3 * 384 + (384 + 1) * 384 + (384 + 1) * 4 * 384 + (4 * 384 + 1) * 384
DERIVED = [
    ("wide-resnet", CIFAR10, {"depth": 28, "width": 10}, 36_479_194),
    ("resnet18", {"input_shape": (3, 32, 32), "num_classes": 100}, {}, 11_173_962 + 90 * 513),
    ("vit-small", CIFAR10, {}, (48 + 1) * 384 + (1 + 65) * 384 + 12 * BLOCK_384 + 2 * 384 + (384 + 1) * 10),
    (
        "sl-vit",
        CIFAR10,
        {},
        2 * 240 + (240 + 1) * 512 + 66 * 512 + 6 * (4 * 512 + 1 + 3 * 512**2 + 3 * (512 + 1) * 512) + 1024 + 513 * 10,
    ),
    ("gpt", {"input_shape": (16,), "num_classes": 50}, {"width": 384, "depth": 1}, 66 * 384 + BLOCK_384 + 2 * 384),
    (
        "gpt",
        {"input_shape": (16,), "num_classes": 50},
        {"width": 384, "depth": 1, "tied": False},
        116 * 384 + BLOCK_384 + 2 * 384,
    ),
]

# One small network of each kind, for what has to be computed.
SMALL = {
    "resnet18": {"width": 2},
    "resnet50": {"width": 1},
    "resnet18 imagenet": {"width": 2, "stem": "imagenet"},
    "resnet50 imagenet": {"width": 1, "stem": "imagenet"},
    "wide-resnet": {"depth": 10, "width": 1},
    "vgg19": {"width": 2},
    "pyramidnet": {"depth": 20, "alpha": 9},
    "pyramidnet basic": {"depth": 14, "alpha": 12, "bottleneck": False},
    "vit-small": {"width": 8, "depth": 2, "num_heads": 2},
    "sl-vit": {"width": 8, "depth": 2, "num_heads": 2},
    "gpt": {"width": 8, "depth": 2, "num_heads": 2},
    "gpt untied": {"width": 8, "depth": 1, "num_heads": 2, "tied": False},
}


@pytest.mark.parametrize(("name", "shape", "args", "num_params"), PUBLISHED + DERIVED)
def test_parameter_counts(name, shape, args, num_params):
    with torch.device("meta"):
        model = build_model(name, **shape, **args)
    assert sum(p.numel() for p in model.parameters()) == num_params


def pyramidnet_count(alpha):
    """PyramidNet-110 with bottlenecks, block by block, as the loops of the authors' code go."""
    count, fan_in, dim = 3 * 16 * 9 + 2 * 16, 16, 16.0
    for _ in range(36):
        dim += alpha / 36
        width = round(dim)
        count += 2 * fan_in + fan_in * width + 2 * width + 9 * width * width + 2 * width + 4 * width * width + 8 * width
        fan_in = 4 * width
    return count + 2 * fan_in + 10 * (fan_in + 1)


@pytest.mark.parametrize("alpha", [48, 84, 270])
def test_pyramidnet_110_with_bottlenecks(alpha):
    with torch.device("meta"):
        model = build_model("pyramidnet", **CIFAR10, alpha=alpha)
    assert sum(p.numel() for p in model.parameters()) == pyramidnet_count(alpha)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet18", "conv1.weight bn1.running_var layer2.0.shortcut.1.bias layer4.1.bn2.weight linear.bias"),
        ("resnet50", "layer1.0.shortcut.0.weight layer3.5.conv3.weight layer4.2.bn3.weight"),
        ("wrn-28-10", "block1.layer.0.convShortcut.weight block3.layer.3.bn2.bias bn1.weight fc.weight"),
        ("vgg19", "features.0.bias features.49.weight features.50.running_mean classifier.weight"),
        ("pyramidnet", "layer1.0.bn4.weight layer3.11.conv3.weight bn_final.bias fc.bias"),
        (
            "sl-vit",
            "cls_token pos_embedding to_patch_embedding.to_patch_tokens.1.bias mlp_head.1.bias "
            "to_patch_embedding.to_patch_tokens.2.weight transformer.layers.5.0.norm.weight "
            "transformer.layers.0.0.fn.temperature transformer.layers.0.0.fn.to_qkv.weight "
            "transformer.layers.0.0.fn.to_out.0.bias transformer.layers.0.1.fn.net.3.bias",
        ),
        (
            "vit-small",
            "cls_token pos_embed patch_embed.proj.bias blocks.11.attn.qkv.bias blocks.0.mlp.fc2.bias head.bias",
        ),
    ],
)
def test_names_are_those_of_the_published_code(name, keys):
    with torch.device("meta"):
        state = build_model(name, **CIFAR10).state_dict()
    assert set(keys.split()) <= set(state)


@pytest.mark.parametrize(("name", "num_blocks"), [("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3))])
def test_names_with_the_stem_of_imagenet_are_torchvisions(name, num_blocks):
    with torch.device("meta"):
        state = build_model(name, **IMAGENET, stem="imagenet").state_dict()
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    num_convolutions = 3 if name == "resnet50" else 2
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{part}" for part in statistics)}
    for stage, count in enumerate(num_blocks, start=1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            for k in range(1, num_convolutions + 1):
                expected |= {f"{prefix}.conv{k}.weight", *(f"{prefix}.bn{k}.{part}" for part in statistics)}
            if block == 0 and (stage > 1 or name == "resnet50"):
                expected |= {f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{part}" for part in statistics)}
    assert set(state) == expected


def small(name):
    """A small network in float64 with weights and statistics as if trained, and six examples for it."""
    text = name.startswith("gpt")
    side = 32 if name in ("vgg19", "resnet18 imagenet", "resnet50 imagenet") else 8
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"input_shape": (6,) if text else (3, side, side), "num_classes": 5}
        model = build_model(name.split()[0], **shape, **SMALL[name]).double()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        inputs = torch.randint(5, (6, 6)) if text else torch.randn(6, 3, side, side, dtype=torch.float64)
        return model, inputs, torch.randint(5, (6, 6) if text else (6,))


@pytest.mark.parametrize("name", SMALL)
def test_examples_become_logits_one_by_one(name):
    model, inputs, _ = small(name)
    logits = model.eval()(inputs)
    assert logits.shape == ((6, 5, 6) if name.startswith("gpt") else (6, 5))
    torch.testing.assert_close(torch.cat([model(x[None]) for x in inputs]), logits)


@pytest.mark.parametrize("name", SMALL)
def test_forward_passes_are_the_papers(name):
    model, inputs, _ = small(name)
    torch.testing.assert_close(model.eval()(inputs), FORWARD[name.split()[0]](model.state_dict(), inputs))


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_overwritten(name):
    model, inputs, _ = small(name)
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    before = inputs.clone()
    model(inputs)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("name", SMALL)
def test_exact_hessian_products_are_finite_differences(name):
    model, inputs, targets = small(name)
    objective = Objective(model, nn.CrossEntropyLoss(), [(inputs, targets)])
    v = torch.randn(objective.num_params, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v /= v.norm()
    w, h = objective.vector(), 1e-6
    expected = (objective.gradient(w + h * v) - objective.gradient(w - h * v)) / (2 * h)
    got = Hessian(objective) @ v
    assert got.norm() > 1e-4
    assert (got - expected).norm() < 1e-6 * got.norm()


@pytest.mark.parametrize("name", SMALL)
def test_second_derivatives_in_train_mode(name):
    """As the optimizers need them: BatchNorm normalizes by the batch, and its buffers are written on the way."""
    model, inputs, targets = small(name)
    names, params = zip(*((n, p.detach()) for n, p in model.named_parameters()), strict=True)
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
    scale = sum(d.square().sum() for d in directions).sqrt()
    directions = [d / scale for d in directions]

    def gradients(step):
        at = [(p + step * d).requires_grad_() for p, d in zip(params, directions, strict=True)]
        loss = cross_entropy(functional_call(model.train(), dict(zip(names, at, strict=True)), (inputs,)), targets)
        return at, torch.autograd.grad(loss, at, create_graph=True)

    with sdpa_kernel(SDPBackend.MATH):
        at, here = gradients(0.0)
        slope = sum((g * d).sum() for g, d in zip(here, directions, strict=True))
        got = torch.cat([g.flatten() for g in torch.autograd.grad(slope, at)])
    up, down = (torch.cat([g.detach().flatten() for g in gradients(step)[1]]) for step in (1e-6, -1e-6))
    assert (got - (up - down) / 2e-6).norm() < 1e-5 * got.norm()


def test_gpt_sees_the_past_only():
    model, tokens, _ = small("gpt")
    changed = tokens.clone()
    changed[:, 3] = (tokens[:, 3] + 1) % 5
    before, after = model(tokens), model(changed)
    assert torch.equal(before[..., :3], after[..., :3])
    assert ((before - after)[..., 3:].abs().amax(dim=1) > 0).all()
    torch.testing.assert_close(model(tokens[:, :3]), before[..., :3])


@pytest.mark.parametrize("diagonal", [False, True])
def test_shifted_patches_are_those_of_images_moved_by_hand(diagonal):
    model = build_model(
        "sl-vit", input_shape=(1, 8, 8), num_classes=2, width=4, depth=1, num_heads=1, diagonal=diagonal
    )
    image = 1 + torch.arange(64.0).reshape(1, 1, 8, 8)
    model.to_patch_embedding.to_patch_tokens = nn.Identity()
    tokens = model.to_patch_embedding(image).unflatten(-1, (4, 4, 5))  # (1, 4 patches, rows, columns, copies)
    moves = [(2, 2), (-2, 2), (2, -2), (-2, -2)] if diagonal else [(0, 1), (0, -1), (1, 0), (-1, 0)]
    for copy, (down, right) in enumerate([(0, 0), *moves]):
        i, j = 4 + 1, 0 + 2  # of the third patch
        found = tokens[0, 2, 1, 2, copy].item()
        assert found == image[0, 0, i - down, j - right]
    assert tokens[0, 0, 0, 0].tolist().count(0.0) == (3 if diagonal else 2)  # black from outside, at the corner


def test_vit_looks_at_whole_patches():
    model, images, _ = small("vit-small")
    image = images[:1].clone().requires_grad_()
    tokens = model.patch_embed(image)  # (1, width, 2, 2)
    (seen,) = torch.autograd.grad(tokens[0, :, 1, 0].sum(), image)
    rows, columns = seen[0].abs().sum(0).nonzero().T.unbind()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 7, 0, 3)


@pytest.mark.parametrize(
    ("name", "shape", "args", "message"),
    [
        ("resnet18", {"input_shape": (64,)}, {}, r"input_shape=\(64,\) is not accepted"),
        ("resnet50", {}, {"stem": "large"}, r"stem='large' is unknown\. Expected cifar or imagenet\."),
        ("resnet50", {}, {"width": 0}, "width=0 is out of range"),
        ("wide-resnet", {}, {"depth": 20}, r"depth=20 is not accepted\. Expected 10, 16, 22, 28, \.\.\.: 6 n \+ 4\."),
        ("wide-resnet", {}, {"width": 0}, "width=0 is out of range"),
        ("wrn-28-10", {}, {"depth": 16}, "model 'wrn-28-10' does not take 'depth'"),
        ("vgg19", {"input_shape": (3, 16, 32)}, {}, "Expected .* of at least 32×32 pixels"),
        ("vgg19", {}, {"width": 0}, "width=0 is out of range"),
        ("pyramidnet", {}, {"depth": 108}, r"depth=108 is not accepted\. Expected 9 n \+ 2\."),
        ("pyramidnet", {}, {"depth": 119, "bottleneck": False}, r"Expected 6 n \+ 2\."),
        ("pyramidnet", {}, {"alpha": -1}, "alpha=-1 is out of range"),
        ("vit-small", {"input_shape": (3, 30, 32)}, {}, "in multiples of 4"),
        ("vit-small", {}, {"width": 10, "num_heads": 4}, "width=10 is not divided by num_heads=4"),
        ("sl-vit", {"input_shape": (3, 30, 32)}, {}, "in multiples of 4"),
        ("sl-vit", {}, {"num_heads": 0}, "num_heads=0 are out of range"),
        ("vit-small", {}, {"depth": 0}, "depth=0 are out of range"),
        ("gpt", {}, {}, r"input_shape=\(3, 32, 32\) is not accepted\. Expected \(context,\)"),
        ("gpt", {"input_shape": (4,)}, {"depth": 0}, "depth=0 are out of range"),
    ],
)
def test_bad_arguments_are_refused(name, shape, args, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, **(CIFAR10 | shape), **args)


def test_too_long_a_text_is_refused():
    model, _, _ = small("gpt")
    with pytest.raises(ValueError, match=r"The text has 7 tokens\. Expected at most 6"):
        model(torch.zeros(1, 7, dtype=torch.long))
