"""Reads a COCO file with pycocotools and prints what it makes of it, as JSON."""

import contextlib
import json
import sys

from pycocotools.coco import COCO

with contextlib.redirect_stdout(sys.stderr):
    coco = COCO(sys.argv[1])
annotations = [
    {
        "image": coco.loadImgs(annotation["image_id"])[0]["file_name"],
        "category": coco.loadCats(annotation["category_id"])[0]["name"],
        "area": annotation["area"],
        "mask": int(coco.annToMask(annotation).sum()),
    }
    for annotation in coco.loadAnns(coco.getAnnIds())
]
print(json.dumps({"images": len(coco.getImgIds()), "annotations": annotations}))
