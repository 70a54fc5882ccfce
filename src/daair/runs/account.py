"""The account at Weights & Biases: used if there is one, never asked for, waited for some seconds at most."""

import os

from daair.errors import UserError


def sign_in() -> None:
    """Make sure that there is a key and that the server takes it.

    Raises:
        UserError: with the reason, in a few words that fit into a sentence.
    """
    import wandb

    if not hasattr(wandb, "init"):  # a folder named wandb that Python takes for the package
        raise UserError("the package wandb is not installed")
    os.environ.setdefault("WANDB_SILENT", "true")  # it tells who is logged in, otherwise
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"WANDB_MODE={mode} is set")
    try:
        found = wandb.login(prompt=False, verify=True)
    except Exception as error:  # AuthenticationError for every reason, ValueError for keys of an odd form, ...
        raise UserError(_reason(error)) from error
    if not found:
        raise UserError("no API key found (wandb login, or WANDB_API_KEY)")


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if "did not respond" in text or "<no message>" in text:  # what wandb says of a server that it cannot reach
        import wandb

        return f"no answer from {wandb.setup().settings.base_url}"
    return text
