"""Loggers whose calls are listened to while they go on writing what they always wrote: TensorBoard's and MLflow's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from . import recorder
from .wrap import after

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "eval", "test", "dev"})
"""A writer into a folder of such a name logs one part of the data under the names of the others."""

_names: dict[tuple[str, str], str] = {}
_folder_of: dict[str, str] = {}
_owned: set[str] = set()
_mlflow_run_of: dict[str, str] = {}
_mlflow_run_of_setting: dict[str, str] = {}


def tensorboard(module: ModuleType) -> None:
    """`SummaryWriter` of PyTorch or tensorboardX; Lightning and the Hugging Face Trainer go through it."""
    after(module.SummaryWriter, "add_scalar", _scalar)
    after(module.SummaryWriter, "add_scalars", _scalars)
    after(module.SummaryWriter, "add_hparams", _hparams)


def _scalar(
    _: Any,
    writer: Any,
    tag: Any,
    scalar_value: Any,
    global_step: Any = None,
    walltime: Any = None,
    *__: Any,
    **___: Any,
) -> None:
    recorder.point("tensorboard", _name(writer, str(tag)), scalar_value, recorder.whole(global_step))


def _scalars(
    _: Any, writer: Any, main_tag: Any, tag_scalar_dict: Any, global_step: Any = None, *__: Any, **___: Any
) -> None:
    values = {_name(writer, f"{main_tag}/{tag}"): value for tag, value in tag_scalar_dict.items()}
    recorder.points("tensorboard", values, recorder.whole(global_step))


def _hparams(_: Any, writer: Any, hparam_dict: Any, *__: Any, **___: Any) -> None:
    recorder.settings("hparams", hparam_dict)


def _name(writer: Any, tag: str) -> str:
    """The tag; with the writer's folder before it where another folder has that tag already."""
    folder = str(getattr(writer, "log_dir", None) or getattr(writer, "logdir", None) or "")
    name = _names.get((folder, tag))
    if name is None:
        name = _names[folder, tag] = _name_in(folder, tag)
    return name


def _name_in(folder: str, tag: str) -> str:
    if folder and folder not in _owned:
        _owned.add(folder)
        recorder.fact(logger="tensorboard", owned=os.path.abspath(folder))
    last = os.path.basename(folder.rstrip("/"))
    if last.lower() in SPLITS:
        return f"{last}/{tag}"
    first = _folder_of.setdefault(tag, folder)
    if first == folder:
        return tag
    try:
        common = os.path.commonpath([os.path.abspath(first), os.path.abspath(folder)])
        return f"{os.path.relpath(folder, common)}/{tag}"
    except ValueError:
        return f"{last}/{tag}"


def mlflow(module: ModuleType) -> None:
    """`MlflowClient`: the fluent calls and autologging end here."""
    client = module.MlflowClient
    after(client, "log_metric", _mlflow_metric)
    after(client, "log_param", _mlflow_param)
    after(client, "log_batch", _mlflow_batch)


def _mlflow_metric(
    _: Any,
    client: Any,
    run_id: str,
    key: str,
    value: Any,
    timestamp: Any = None,
    step: Any = None,
    *__: Any,
    **___: Any,
) -> None:
    recorder.point("mlflow", _mlflow_name(run_id, key), value, recorder.whole(step or 0))


def _mlflow_param(_: Any, client: Any, run_id: str, key: str, value: Any, *__: Any, **___: Any) -> None:
    recorder.settings("mlflow", {_mlflow_setting(run_id, key): _typed(value)})


def _mlflow_batch(_: Any, client: Any, run_id: str, metrics: Any = (), params: Any = (), *__: Any, **___: Any) -> None:
    steps: dict[int, dict[str, Any]] = {}
    for metric in metrics or ():
        steps.setdefault(metric.step, {})[_mlflow_name(run_id, metric.key)] = metric.value
    for step, values in steps.items():
        recorder.points("mlflow", values, recorder.whole(step))
    settings = {_mlflow_setting(run_id, param.key): _typed(param.value) for param in params or ()}
    if settings:
        recorder.settings("mlflow", settings)


def _mlflow_name(run_id: str, key: str) -> str:
    """The metric; with the run before it where another MLflow run of this process has that metric already."""
    if not _mlflow_run_of:
        recorder.fact(logger="mlflow")
    first = _mlflow_run_of.setdefault(key, run_id)
    return key if first == run_id else f"{run_id[:8]}/{key}"


def _mlflow_setting(run_id: str, key: str) -> str:
    """The setting, told apart in the same way."""
    first = _mlflow_run_of_setting.setdefault(key, run_id)
    return key if first == run_id else f"{run_id[:8]}/{key}"


def _typed(text: Any) -> Any:
    """MLflow keeps every param as text; a number is given back its type."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False, "None": None}.get(text, text)


def flat_numbers(values: Mapping[Any, Any], prefix: str = "", depth: int = 8) -> dict[str, Any]:
    """Nested values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in list(values.items()):
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth:
            flat.update(flat_numbers(value, name + ".", depth - 1))
        else:
            flat[name] = value
    return flat
