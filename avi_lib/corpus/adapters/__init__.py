"""Adapters: one small file for each layout of a raw corpus; each has `LAYOUT` and `scan(source) -> Scan`."""

ADAPTERS = {
    "ravdess": "RAVDESS: labels in file names",
    "crema-d": "CREMA-D: labels in file names",
    "emodb": "Berlin EMO-DB: labels in file names, phones from lablaut",
    "mead": "MEAD: videos in folders M003/video/front/happy/level_2, sound beside",
    "livelink": "Live Link Face takes: CSV with sound or video of the same name",
    "rig": "weights of a named rig as npz, with a map to ARKit; sound beside",
    "flame": "FLAME coefficients as npz or npy, sound beside",
    "table": "index.csv with one row a clip; phones.json and motion if there are any",
    "captioned": "a JSON of clip and sentence",
    "videos": "any folder of videos, one sub-folder a speaker",
}
"""Every adapter's name, as the command takes it, and what it reads."""
