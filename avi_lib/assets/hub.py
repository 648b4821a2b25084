"""The same files from the model hub, for machines that reach it.

In: a `Model` with a hub repository. Out: its files below a folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from avi_lib.assets.manifest import Hub, Model
from avi_lib.errors import AssetError

PROBE_TIMEOUT_S = 5.0


def hub_is_off() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids asking the hub."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def fetch_from_hub(hub: Hub, model: Model, folder: Path) -> None:
    """Download the model's files into `folder`.

    One short request without retries comes first, so that a machine without the hub hears so within seconds.
    Raises AssetError when the hub cannot be reached or lacks the files.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session, hf_hub_download

    name = hub.repository
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT_S)
        for file in model.files:
            name = f"{file.name} of {hub.repository}"
            hf_hub_download(hub.repository, file.name, revision=hub.revision, local_dir=folder)
        shutil.rmtree(folder / ".cache")
    except (HTTPError, OSError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise AssetError(f"{name} from the model hub", words[0], "check the network") from error
