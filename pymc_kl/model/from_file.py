"""Take a model from a file of Python, given as FILE.py:NAME."""

import importlib.util
import sys
import traceback
from pathlib import Path

import pymc as pm


def load_model(file: Path, name: str) -> pm.Model:
    """Import a file and take the model NAME from it."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"the model's file must be one of Python, FILE.py; got {str(file)!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name, None)
        model = found() if callable(found) and not isinstance(found, pm.Model) else found
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}," if lines else ""
        raise ValueError(f"{file}{where} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(model, pm.Model):
        models = [key for key, value in vars(module).items() if isinstance(value, pm.Model)]
        raise ValueError(f"{file} has no pm.Model named {name!r}; it has {models or 'none'}.")
    return model
