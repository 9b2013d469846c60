"""Writes pretraining.safetensors and meta.json: losses and gradients of pre-training objectives, of tiny networks in
f64, from the equations of MEDiC, MaskDistill, FD and MaskAlign; EM clustering; what a teacher is given to see.

These are transcription checks: no released code made them. timm's VisionTransformer and Beit are the networks; the
masks, targets, terms and MAE's decoder around them are written here, from the papers or from what the released code
does, as each case of meta.json says. It also says what every tensor is and how the names map.

Run with PyTorch 2.11, timm 1.0.31, numpy and safetensors.
"""
import functools
import json
import pathlib

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.beit import Beit
from timm.models.vision_transformer import Block, VisionTransformer

HERE = pathlib.Path(__file__).parent
VERSIONS = {"torch": torch.__version__, "timm": timm.__version__, "numpy": np.__version__}
BATCH, SIZE, PATCH, DEPTH = 2, 16, 4, 3
GRID = SIZE // PATCH
PATCHES = GRID * GRID
STUDENT, TEACHER, DECODER = 24, 20, 16
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
random = np.random.default_rng(8)
torch.set_default_dtype(torch.float64)
out, cases = {}, {}


def halves(shape, scale, around=0.0):
    """Numbers that half precision holds exactly."""
    return torch.from_numpy((around + scale * random.standard_normal(shape)).astype(np.float16)).double()


# Networks and their weights.


def fill(module, prefix):
    """Every parameter far enough from its usual beginning that each of them shows in the loss."""
    for name, parameter in module.named_parameters():
        if name.endswith("norm.weight") or ".norm1.weight" in name or ".norm2.weight" in name:
            value = halves(parameter.shape, 0.1, 1.0)
        elif "gamma" in name:
            value = halves(parameter.shape, 0.02, 0.1)
        elif parameter.ndim == 1:
            value = halves(parameter.shape, 0.1)
        elif "token" in name or "pos_embed" in name or "table" in name:
            value = halves(parameter.shape, 0.5)
        else:
            value = halves(parameter.shape, 1.2 / parameter[0].numel() ** 0.5)
        parameter.data = value
        out[f"{prefix}.{name}"] = value.half()
    return module.double()


def tables(width):
    """MAE's sines and cosines of columns, then of rows, after zeros for the class token: `[1, 1 + N, width]`."""
    rates = 1 / 10000 ** (torch.arange(width // 4) / (width / 4))
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(GRID).double()] * 2, indexing="ij"))
    halves = [torch.cat([(axis[:, None] * rates).sin(), (axis[:, None] * rates).cos()], 1) for axis in (columns, rows)]
    return torch.cat([torch.zeros(1, width), torch.cat(halves, 1)])[None]


class Decoder(torch.nn.Module):
    """MAE's decoder, under mimbench's names. Its positions are fixed."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Linear(STUDENT, DECODER)
        self.mask_token = torch.nn.Parameter(torch.zeros(1, 1, DECODER))
        norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.blocks = torch.nn.ModuleList(
            Block(DECODER, 2, mlp_ratio=2.0, qkv_bias=True, norm_layer=norm) for _ in range(2)
        )
        self.norm = norm(DECODER)
        self.pred = torch.nn.Linear(DECODER, PATCH * PATCH * 3)
        self.register_buffer("pos_embed", tables(DECODER).half().double())

    def forward(self, tokens, seen, replaced=None):
        """tokens: `[B, 1 + K, D]`; seen: `[B, K]`; replaced: `[B, N]`, 1 where the mask token stands in place of a
        token -> `[B, N, p p C]`"""
        tokens = self.embed(tokens)
        places = seen[:, :, None].expand(-1, -1, DECODER)
        patches = self.mask_token.expand(BATCH, PATCHES, -1).scatter(1, places, tokens[:, 1:])
        if replaced is not None:
            patches = torch.where(replaced[:, :, None] == 1, self.mask_token, patches)
        tokens = torch.cat([tokens[:, :1], patches], 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.pred(self.norm(tokens))[:, 1:]


sizes = {"img_size": SIZE, "patch_size": PATCH, "depth": DEPTH, "mlp_ratio": 2.0, "num_classes": 0}
sparse = fill(VisionTransformer(embed_dim=STUDENT, num_heads=3, global_pool="token", **sizes), "student")
teacher = fill(VisionTransformer(embed_dim=TEACHER, num_heads=2, global_pool="token", **sizes), "teacher")
dense = Beit(
    embed_dim=STUDENT, num_heads=3, global_pool="token", init_values=0.1, use_abs_pos_emb=False,
    use_shared_rel_pos_bias=True, **sizes
)
dense.mask_token = torch.nn.Parameter(torch.zeros(1, 1, STUDENT))
dense = fill(dense, "dense")
decoder = fill(Decoder(), "decoder")
out["decoder.pos_embed"] = decoder.pos_embed.half()
head = fill(torch.nn.Linear(STUDENT, TEACHER), "heads.distill")
linears = fill(torch.nn.ModuleList(torch.nn.Linear(STUDENT, TEACHER) for _ in range(DEPTH)), "heads.align")


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(STUDENT, STUDENT), torch.nn.Linear(STUDENT, TEACHER)

    def forward(self, x):
        hidden = self.fc1(x)
        return self.fc2(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)


mlps = fill(torch.nn.ModuleList(Mlp() for _ in range(DEPTH)), "heads.align_mlp")
modules = {"student": sparse, "dense": dense, "decoder": decoder, "heads.distill": head, "heads.align": linears,
           "heads.align_mlp": mlps}

# Inputs.

images = torch.from_numpy(random.standard_normal((BATCH, 3, SIZE, SIZE)).astype(np.float32)).double()
out["images"] = images.float()


def masks(name, kept, ordered):
    """Which patches are seen, in the order they are given to the encoder, and which are hidden."""
    seen = np.stack([random.permutation(PATCHES)[:kept] for _ in range(BATCH)])
    seen = torch.from_numpy(np.sort(seen, 1) if ordered else seen)
    hidden = torch.ones(BATCH, PATCHES, dtype=torch.int64).scatter(1, seen, 0)
    out[f"masks/{name}/seen"], out[f"masks/{name}/hidden"] = seen, hidden
    return seen, hidden


MEDIC = masks("medic", PATCHES - int(0.4 * PATCHES), True)
ALIGN = masks("maskalign", int(PATCHES * (1 - 0.7)), False)


def picked(patches, seen):
    return patches.gather(1, seen[:, :, None].expand(-1, -1, patches.shape[2]))


def sparse_blocks(seen):
    """Outputs of the sparse student's blocks: `[1 + K, D]` an image and block."""
    tokens = picked(sparse.patch_embed(images) + sparse.pos_embed[:, 1:], seen)
    tokens = torch.cat([(sparse.cls_token + sparse.pos_embed[:, :1]).expand(BATCH, -1, -1), tokens], 1)
    return through(sparse.blocks, tokens)


def through(blocks, tokens):
    outputs = []
    for block in blocks:
        tokens = block(tokens)
        outputs.append(tokens)
    return outputs


def dense_tokens(hidden):
    tokens = torch.where(hidden[:, :, None] == 1, dense.mask_token, dense.patch_embed(images))
    tokens = torch.cat([dense.cls_token.expand(BATCH, -1, -1), tokens], 1)
    bias = dense.rel_pos_bias()
    for block in dense.blocks:
        tokens = block(tokens, shared_rel_pos_bias=bias)
    return dense.norm(tokens)


with torch.no_grad():
    whole = torch.cat([teacher.cls_token.expand(BATCH, -1, -1), teacher.patch_embed(images)], 1) + teacher.pos_embed
    targets = through(teacher.blocks, whole)
    out["blocks/teacher"] = torch.stack(targets)
    out["blocks/student"] = torch.stack(sparse_blocks(ALIGN[0]))
    out["tokens/sparse"] = sparse.norm(sparse_blocks(MEDIC[0])[-1])
    out["tokens/dense"] = dense_tokens(MEDIC[1])

# Targets and terms.


def standard(x, axes=(-1,), eps=1e-5, unbiased=False):
    """`(x - mean) / sqrt(variance + eps)` over some axes."""
    mean = x.mean(axes, keepdim=True)
    count = x.numel() // mean.numel()
    variance = (x - mean).square().sum(axes, keepdim=True) / (count - 1 if unbiased else count)
    return (x - mean) / (variance + eps).sqrt()


def per_token(x):
    return standard(x, eps=1e-6, unbiased=True)


def smooth_l1(x, y, beta=1.0):
    distance = (x - y).abs()
    return torch.where(distance < beta, distance.square() / (2 * beta), distance - beta / 2)


def over(values, kept):
    """Mean over the last axis, then over the patches that are kept."""
    return (values.mean(-1) * kept).sum() / kept.sum()


def cosine(x, y, temperature):
    lengths = x.square().sum(-1).sqrt() * y.square().sum(-1).sqrt()
    return ((1 - (x * y).sum(-1) / lengths) / temperature).mean()


def cross_entropy(x, y, student, teacher):
    """Of the student's softmax at one temperature to the teacher's at another, over the channels."""
    share = (y / teacher).exp() / (y / teacher).exp().sum(-1, keepdim=True)
    return -(share * (x / student - (x / student).logsumexp(-1, keepdim=True))).sum(-1).mean()


def pixels():
    """`[B, N, p p C]`, each patch `(p, p, C)`."""
    patches = images.reshape(BATCH, 3, GRID, PATCH, GRID, PATCH).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(BATCH, PATCHES, -1)


# A case: its terms, their sum and the gradients of whatever it trains.

FULL = {
    "student": ["cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.0.norm1.weight", "blocks.0.attn.qkv.bias",
                "blocks.0.attn.proj.weight", "blocks.2.mlp.fc1.bias", "blocks.2.mlp.fc2.weight", "norm.weight"],
    "dense": ["cls_token", "mask_token", "rel_pos_bias.relative_position_bias_table", "patch_embed.proj.bias",
              "blocks.0.norm2.bias", "blocks.0.gamma_1", "blocks.0.attn.q_bias", "blocks.0.attn.v_bias",
              "blocks.0.attn.proj.weight", "blocks.2.gamma_2", "blocks.2.mlp.fc2.weight", "norm.bias"],
    "decoder": ["mask_token", "embed.weight", "blocks.0.attn.qkv.bias", "blocks.1.mlp.fc2.weight", "norm.bias",
                "pred.bias"],
    "heads.distill": ["weight", "bias"],
    "heads.align": ["2.weight", "2.bias"],
    "heads.align_mlp": ["2.fc1.bias", "2.fc2.bias"],
}


def case(name, note, terms, weights, trained, whole, matrix=None, **settings):
    """whole: the networks of which some gradients are stored as they are, besides the probes of all."""
    total = sum(weights[term] * value for term, value in terms.items())
    parameters = {f"{prefix}.{key}": value for prefix, module in trained.items()
                  for key, value in module.named_parameters()}
    if matrix is not None:
        out[f"{name}/matrix"] = matrix.detach()
        parameters["matrix"] = matrix
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    probes, unreached = [], []
    full = {f"{prefix}.{key}" for prefix in whole for key in FULL[prefix]} | {"matrix"}
    for key, gradient in zip(parameters, gradients):
        if gradient is None or not gradient.any():
            unreached.append(key)
            gradient = torch.zeros_like(parameters[key])
        elif key in full:
            out[f"{name}/gradients/{key}"] = gradient
        flat, at = gradient.flatten(), torch.arange(gradient.numel()).double()
        probes.append(torch.stack([flat @ at.cos(), flat @ at.sin(), flat.norm()]))
    out[f"{name}/probes"] = torch.stack(probes)
    cases[name] = {
        "note": note,
        **settings,
        "weights": weights,
        "terms": {term: value.item() for term, value in terms.items()},
        "total": total.item(),
        "trained": [*trained, *(["matrix"] if matrix is not None else [])],
        "unreached": unreached,
    }


def medic():
    seen, hidden = MEDIC
    kept = torch.ones_like(seen)
    networks = {"student": sparse, "heads.distill": head, "decoder": decoder}

    tokens = sparse.norm(sparse_blocks(seen)[-1])
    projected, target = head(tokens), per_token(targets[-1])
    terms = {
        "patch": over(smooth_l1(projected[:, 1:], picked(target[:, 1:], seen)), kept),
        "cls": cosine(projected[:, 0], target[:, 0], 0.1),
        "pixels": over((decoder(tokens, seen) - per_token(pixels())).square(), hidden),
    }
    case("medic_sparse_cosine", "MEDiC as its code has it, but for layer scale: the patch term over visible patches, "
         "teacher tokens normalised with the unbiased variance and 1e-6, the cosine of the class tokens over its "
         "temperature, pixels to a target normalised patch by patch", terms,
         {"patch": 1.0, "cls": 1.0, "pixels": 1.0}, networks, networks, beta=1.0, temperature=0.1)

    tokens = sparse.norm(sparse_blocks(seen)[-1])
    projected, target = head(tokens), standard(targets[-1])
    terms = {
        "patch": over(smooth_l1(projected[:, 1:], picked(target[:, 1:], seen)), kept),
        "cls": cross_entropy(projected[:, 0], target[:, 0], student=0.1, teacher=0.1),
        "pixels": over((standard(decoder(tokens, seen)) - pixels()).square(), hidden),
    }
    case("medic_sparse_ce", "MEDiC as its paper has it, but for the patches that its patch term is over: layer-normed "
         "teacher tokens, equation 3's cross entropy, equation 4's normalisation of the predicted pixels (biased, "
         "1e-5) to pixels as they are", terms, {"patch": 1.0, "cls": 0.3, "pixels": 0.01}, networks, [],
         beta=1.0, temperatures={"student": 0.1, "teacher": 0.1})

    everywhere = torch.arange(PATCHES).expand(BATCH, -1)
    for name, note, replaced in [
        ("medic_dense", "the decoder reads every token of the encoder", None),
        ("medic_dense_replaced", "the decoder's mask token stands in place of hidden patches' tokens, after its "
         "embedding: replace_mask_tokens of MEDiC's code", hidden),
    ]:
        tokens = dense_tokens(hidden)
        projected, target = head(tokens), standard(targets[-1])
        terms = {
            "patch": over(smooth_l1(projected[:, 1:], target[:, 1:]), hidden),
            "cls": cross_entropy(projected[:, 0], target[:, 0], student=1.0, teacher=0.5),
            "pixels": over((decoder(tokens, everywhere, replaced) - per_token(pixels())).square(), hidden),
        }
        networks = {"dense": dense, "heads.distill": head, "decoder": decoder}
        case(name, "MEDiC's dense encoder: the patch term over hidden patches; " + note, terms,
             {"patch": 1.0, "cls": 0.3, "pixels": 0.01}, networks, networks if replaced is None else [], beta=1.0,
             temperatures={"student": 1.0, "teacher": 0.5})


def distillation():
    hidden = MEDIC[1]
    for name, note, mask, kept in [
        ("maskdistill", "MaskDistill: over hidden patches", hidden, hidden),
        ("fd", "Feature distillation: nothing is hidden, over all patches", torch.zeros_like(hidden),
         torch.ones_like(hidden)),
    ]:
        projected = head(dense_tokens(mask))[:, 1:]
        terms = {"patch": over(smooth_l1(projected, standard(targets[-1][:, 1:]), 2.0), kept)}
        case(name, note, terms, {"patch": 1.0}, {"dense": dense, "heads.distill": head}, [], beta=2.0)


def maskalign():
    seen = ALIGN[0]
    layer_norm, none = standard, lambda y: y
    # Numbers that f32 holds, as weights are.
    identity, equal = (x.float().double() for x in (torch.eye(DEPTH) + 0.01, torch.ones(DEPTH, DEPTH) / DEPTH))
    mixed = halves((DEPTH, DEPTH), 0.5)

    def aligned(name, note, normalise, top, adaptors=linears, matrix=None, order="matrix_first", scale=2.0,
                cls=True):
        outputs = sparse_blocks(seen)
        if matrix is not None:
            matrix = matrix.clone().requires_grad_()
        if matrix is None:
            predicted = [adapt(x) for adapt, x in zip(adaptors, outputs)]
        elif order == "matrix_first":
            predicted = [adapt(sum(w * x for w, x in zip(row, outputs))) for adapt, row in zip(adaptors, matrix)]
        else:
            adapted = [adapt(x) for adapt, x in zip(adaptors, outputs)]
            predicted = [sum(w * x for w, x in zip(row, adapted)) for row in matrix]
        loss = 0
        for x, y in list(zip(predicted, targets))[DEPTH - top:]:
            y = normalise(y)
            y = torch.cat([y[:, :1], picked(y[:, 1:], seen)], 1)
            loss = loss + scale * smooth_l1(x, y)[:, 0 if cls else 1:].mean() / top
        heads = "heads.align" if adaptors is linears else "heads.align_mlp"
        whole = [heads] if name in ("maskalign_code", "maskalign_paper", "maskalign_mlp") else []
        case(name, note, {"align": loss}, {"align": 1.0}, {"student": sparse, heads: adaptors}, whole, matrix,
             order=order if matrix is not None else "layer_wise", top=top, scale=scale, cls=cls)

    aligned("maskalign_code", "the matrix first, then a head a teacher layer; W = I + 0.01; LN without affine, 1e-5",
            layer_norm, 2, matrix=identity)
    aligned("maskalign_paper", "equation 1: an adaptor a student layer, then the matrix; equation 3", layer_norm, 3,
            matrix=mixed, order="adaptor_first", scale=1.0, cls=False)
    aligned("maskalign_mlp", "the same with MLPs of two layers and GELU", layer_norm, 1, adaptors=mlps, matrix=mixed,
            order="adaptor_first", scale=1.0)
    aligned("maskalign_layer_wise", "layer i to layer i, without a matrix", layer_norm, 2)
    aligned("maskalign_bn", "targets normalised channel by channel over images and all tokens (class token and hidden "
            "patches with them), biased, 1e-5", lambda y: standard(y, (0, 1)), 2, matrix=mixed)
    aligned("maskalign_bn_code", "what the released code calls bn: one mean and one unbiased variance of a layer's "
            "whole output, 1e-6", lambda y: standard(y, (0, 1, 2), 1e-6, True), 2, matrix=mixed)
    aligned("maskalign_raw", "targets as they are", none, 2, matrix=mixed)
    aligned("maskalign_sum", "W begins as ones / S", layer_norm, 2, matrix=equal)


def em():
    """Evolved part masking's EM: soft assignments by cosine-like kernels, 15 rounds, kappa 40."""
    cases["em"] = {
        "note": "as EPM's code: x: [N, N], a column a patch; means: [k, N], where they begin, normalised; after the "
                "last of 15 rounds the assignments are made once more: z: [N, k], softmax over the parts; shares: z "
                "over its sum over patches, 1e-6 added; labels: argmax of the shares, not of z",
        "kappa": 40.0, "rounds": 15, "eps": 1e-6, "labels_unlike_argmax_of_z": [],
    }
    draws = np.random.default_rng(2)
    for image, (patches, parts) in enumerate([(16, 4), (49, 6)]):
        # Attention within planted parts, the mean of twelve maps; a seed by which two labels are not the argmax
        # of z, all are clear, and f32 finds the same ones.
        part = draws.integers(0, parts, patches)
        near = 1.6 * (part[:, None] == part[None, :])
        maps = np.exp(near + draws.standard_normal((12, patches, patches)))
        x = (maps / maps.sum(-1, keepdims=True)).mean(0).astype(np.float32)
        means = draws.standard_normal((parts, patches)) * (2 / parts) ** 0.5
        x, means = torch.from_numpy(x), torch.from_numpy(means)
        unit = lambda rows: rows / (1e-6 + rows.norm(dim=1, keepdim=True))
        means = unit(means).float()
        out[f"em/{image}/x"], out[f"em/{image}/means"] = x, means
        x, means = x.double(), means.double()
        for _ in range(15):
            z = (40 * x.T @ means.T).softmax(1)
            means = unit((z / (1e-6 + z.sum(0))).T @ x.T)
        z = (40 * x.T @ means.T).softmax(1)
        shares = z / (1e-6 + z.sum(0))
        labels = shares.argmax(1)
        out[f"em/{image}/z"], out[f"em/{image}/shares"], out[f"em/{image}/labels"] = z, shares, labels
        cases["em"]["labels_unlike_argmax_of_z"].append((labels != z.argmax(1)).sum().item())
        best = shares.sort(1, descending=True).values
        assert ((best[:, 0] - best[:, 1]) > 1e-3 * best[:, 0]).all()


def teacher_input():
    """Images as the student is given them -> as a CLIP teacher is; and at its own size."""
    columns = lambda numbers: torch.tensor(numbers)[:, None, None]
    convert = lambda x: (x * columns(IMAGENET[1]) + columns(IMAGENET[0]) - columns(CLIP[0])) / columns(CLIP[1])
    out["teacher_input/clip"] = convert(images[:1])
    smaller = F.interpolate(images[:1], (12, 12), mode="bicubic", align_corners=False)
    out["teacher_input/clip_12"] = convert(smaller)
    cases["teacher_input"] = {"note": "clip: images[0], normalised for ImageNet, as normalised for CLIP; clip_12: the "
                              "same after torch's bicubic without antialias to 12 x 12", "from": IMAGENET, "to": CLIP}


medic()
distillation()
maskalign()
em()
teacher_input()
save_file({name: tensor.detach().contiguous().clone() for name, tensor in out.items()},
          HERE / "pretraining.safetensors")
meta = {
    "versions": VERSIONS,
    "kind": "transcription checks in f64, written from the equations",
    "tolerance": "2e-5 max(1, max|b|) in f32; in f64 1e-9 max(1, max|b|)",
    "networks": {
        "student": f"timm's VisionTransformer: width {STUDENT}, 3 heads, depth {DEPTH}, MLP 48, {SIZE} px, patches of "
                   f"{PATCH} px, class token, absolute positions, epsilon 1e-6, GELU by erf; the sparse encoder adds "
                   "positions, takes the seen patches in their order, and the class token in front",
        "teacher": f"the same of width {TEACHER}, 2 heads, MLP 40; reads the same images; its tokens are those of its "
                   "last block, its final norm is never used",
        "dense": "timm's Beit of the student's sizes, with a shared table of relative positions, layer scale and no "
                 "absolute positions; mask_token, which timm's has not, stands in place of hidden patches after their "
                 "embedding. blocks.N.gamma_1, gamma_2: blocks.N.ls1.gamma, ls2.gamma of VisionTransformer; "
                 "blocks.N.attn.q_bias, v_bias: first and last third of attn.qkv.bias, whose middle is 0",
        "decoder": f"MAE's: width {DECODER}, 2 heads, depth 2, MLP 32, epsilon 1e-6; pos_embed is not trained; reads "
                   "the student's final norm; pixels of a patch are (p, p, C)",
        "heads": "heads.distill: one Linear on the final norm's tokens, of patches and class alike; heads.align.N and "
                 "heads.align_mlp.N: one a layer",
    },
    "tensors": {
        "weights": "F16, exactly what was computed with",
        "masks/NAME": "seen: [B, K], in the encoder's order; hidden: [B, N], 1 or 0",
        "blocks/student": "[S, B, 1 + K, D] at masks/maskalign, blocks/teacher: [T, B, 1 + N, D]",
        "tokens": "final norms of the two students at masks/medic: sparse [B, 1 + K, D], dense [B, 1 + N, D]",
        "CASE/matrix": "[T, S], a row a teacher layer: the transpose of the paper's",
        "CASE/gradients/NAME": "of the total, whole, for some parameters",
        "CASE/probes": "[P, 3], a row for each parameter of the case's trained networks, in their order: the sums of "
                       "g_i cos(i) and of g_i sin(i) over the flattened gradient g, and its norm",
    },
    "parameters": {prefix: [key for key, _ in module.named_parameters()] for prefix, module in modules.items()},
    "cases": cases,
}
(HERE / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
print({name: round(entry["total"], 3) for name, entry in cases.items() if "total" in entry})
