"""Writes tiny_vit.safetensors: a small timm ViT's loss and the gradient of every parameter, in f64.

Run with PyTorch 2.11, timm 1.0.31 and safetensors. Weights, images and soft targets are drawn in
f32, so that every engine reads them exactly, and computed with in f64:
    weights/NAME        f32, every one of them random, norms and biases too
    images              f32 [3, 3, 32, 32]
    classes             i64 [3]; the loss of hard/ is the mean cross entropy with them
    targets             f32 [3, 10]; rows sum to one, the loss of soft/ is the one with them
    logits              f64 [3, 10]
    hard/loss, soft/loss, hard/grad/NAME, soft/grad/NAME    f64
    adamw/NAME          f64, after three steps of torch.optim.AdamW on the hard loss

AdamW's eps is 1e-3: a key's bias has a gradient of zero, and with the usual 1e-8 the rounding
errors in its place would become steps of the size of the learning rate.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

torch.manual_seed(0)
model = VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, mlp_ratio=4, num_classes=10)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        if parameter.dim() > 1:
            inputs = 1 if name in ("cls_token", "pos_embed") else parameter[0].numel()
            parameter.copy_(noise * 1.2 / inputs**0.5)
        else:
            parameter.copy_(0.2 * noise + (1 if "norm" in name and name.endswith("weight") else 0))
images = torch.randn(3, 3, 32, 32)
classes = torch.tensor([7, 0, 9])
targets = torch.rand(3, 10).softmax(-1)
weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
tensors = {f"weights/{name}": weight for name, weight in weights.items()}
tensors |= {"images": images, "classes": classes, "targets": targets}

model.double()
images = images.double()
logits = model(images)
tensors["logits"] = logits.detach()
losses = {
    "hard": F.cross_entropy(logits, classes),
    "soft": -(targets.double() * logits.log_softmax(-1)).sum(-1).mean(),
}
for kind, loss in losses.items():
    gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    tensors[f"{kind}/loss"] = loss.detach()
    tensors |= {f"{kind}/grad/{name}": gradient for name, gradient in zip(weights, gradients)}

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-3, weight_decay=0.05)
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(model(images), classes).backward()
    optimizer.step()
tensors |= {f"adamw/{name}": parameter.detach() for name, parameter in model.named_parameters()}
file = pathlib.Path(__file__).with_name("tiny_vit.safetensors")
save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
