"""Which of our materials a file's names speak of, whatever its tool calls them.

>>> material_of("Wolf3D_Eyelashes", "head"), material_of("Outfit_Top"), material_of("Body")
('hair', 'cloth', 'skin')
"""

from __future__ import annotations

from avi_lib.face.channel_names import words

MATERIAL_WORDS = {
    "hair": {"hair", "brow", "brows", "eyebrow", "eyebrows", "lash", "lashes", "eyelash", "eyelashes", "beard"},
    "lips": {"lip", "lips"},
    "teeth": {"teeth", "tooth", "gum", "gums"},
    "tongue": {"tongue"},
    "eye": {"eye", "eyes", "eyeball", "eyeballs", "sclera", "iris", "cornea", "pupil"},
    "cloth": {"cloth", "clothes", "shirt", "jacket", "suit", "outfit", "top", "garment"},
}
"""Words that make a name one of `shading.MATERIALS`; earlier rows first, so that an eye's lashes are hair."""


def material_of(*names: str) -> str:
    """The material that the first telling name speaks of; skin where none does."""
    for name in names:
        spoken = set(words(name))
        for material, marks in MATERIAL_WORDS.items():
            if spoken & marks:
                return material
    return "skin"
