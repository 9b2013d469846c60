"""kNN accuracy of a timm checkpoint on a folder of images, from its files: what `mimbench knn` does.

Usage: knn.py CHECKPOINT PHOTOS [--arch NAME] [--threads N] [--batch N] [--workers N]. PHOTOS has
train/<class>/* and val/<class>/*. Resize 256, crop 224, class token, cosine similarity, the 20
nearest vote with weight exp(similarity / 0.07). Prints {"top1": percent, "images": n}.
"""
import argparse
import json
from pathlib import Path

import timm
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode

K, TEMPERATURE = 20, 0.07

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
parser.add_argument("photos", type=Path)
parser.add_argument("--arch", default="vit_small_patch16_224")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--workers", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)
model = timm.create_model(options.arch, num_classes=0, checkpoint_path=options.checkpoint).eval()
transform = transforms.Compose([
    transforms.Resize(256, InterpolationMode.BICUBIC),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])


def encode(split):
    """Unit features [N, D] and labels [N] of a split."""
    images = ImageFolder(options.photos / split, transform)
    features, labels = [], []
    for batch, classes in DataLoader(images, options.batch, num_workers=options.workers):
        features.append(torch.nn.functional.normalize(model(batch), dim=1))
        labels.append(classes)
    return torch.cat(features), torch.cat(labels)


with torch.inference_mode():
    train, train_labels = encode("train")
    val, val_labels = encode("val")
    classes = int(train_labels.max()) + 1
    right = 0
    for queries, wanted in zip(val.split(512), val_labels.split(512)):
        similarity, index = (queries @ train.T).topk(min(K, len(train)), dim=1)
        votes = torch.zeros(len(queries), classes)
        votes.scatter_add_(1, train_labels[index], (similarity / TEMPERATURE).exp())
        right += int((votes.argmax(1) == wanted).sum())
print(json.dumps({"top1": 100 * right / len(val), "images": len(train) + len(val)}))
