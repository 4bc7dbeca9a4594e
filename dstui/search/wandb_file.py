"""Sweeps in the YAML that Weights & Biases reads, so that a `sweep.yaml` that is already there can be used.

Read are the parts with a counterpart here; what has none is refused by name instead of being ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dstui.errors import UsageError
from dstui.search.parameters import Choice, Fixed, Integer, Parameter, Real, ordered_by_nature, show
from dstui.search.space import Space
from dstui.search.sweep import DEFAULT_TRIALS
from dstui.search.sweep_file import SweepFile, sweep_of

_METHODS = {"grid": "grid", "random": "random", "bayes": "bayes"}
_KEYS = {"program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description"}
_IGNORED = {"project", "entity", "job", "description"}
"""Where the results go there, and remarks; nothing here depends on them."""

_SPEC_KEYS = {"value", "values", "distribution", "min", "max", "q"}
_DISTRIBUTIONS = {
    "constant",
    "categorical",
    "int_uniform",
    "uniform",
    "q_uniform",
    "log_uniform",
    "log_uniform_values",
    "q_log_uniform_values",
}


def sweep_of_wandb(table: object) -> SweepFile:
    """The sweep that a wandb file asks for.

    Raises:
        UsageError: naming the key that has no counterpart, or is wrong.
    """
    if not isinstance(table, Mapping):
        raise UsageError("The file holds no mapping", hint="it needs `method`, `metric` and `parameters`")
    for key in table:
        if key not in _KEYS | _IGNORED:
            raise UsageError(f"`{key}` of a wandb sweep is not read here", hint=f"read are {', '.join(sorted(_KEYS))}")
    method = table.get("method", "bayes")
    if method not in _METHODS:
        raise UsageError(f"`method` is {show(method)}", hint=f"known are {', '.join(_METHODS)}")
    metric = table.get("metric")
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        raise UsageError("The file names no metric", hint="write metric: {name: val_acc, goal: maximize}")
    goal = metric.get("goal", "minimize")
    if goal not in ("maximize", "minimize"):
        raise UsageError(f"`goal` of the metric is {show(goal)}", hint="write `maximize` or `minimize`")
    parameters = table.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise UsageError("The file has no `parameters`", hint="add one, such as lr: {min: 1e-5, max: 1e-1}")
    space = Space(tuple(parameter_of_wandb(str(name), spec) for name, spec in parameters.items()))
    resolved: dict[str, Any] = {
        goal: metric["name"],
        "space": space.table(),
        "trials": table.get("run_cap", DEFAULT_TRIALS),
        "sampler": _METHODS[method],
    }
    if "name" in table:
        resolved["name"] = str(table["name"])
    command = _command_of(table)
    if command:
        resolved["command"] = command
    stop = _stop_of(table.get("early_terminate"))
    if stop:
        resolved["stop"] = stop
    if "target" in metric:
        resolved["limits"] = {"target": metric["target"]}
    return sweep_of(resolved)


def parameter_of_wandb(name: str, spec: object) -> Parameter:
    """One parameter as wandb describes it.

    Raises:
        UsageError: the distribution has no counterpart, or a bound is missing.
    """
    if not isinstance(spec, Mapping):
        raise UsageError(f"`{name}` is {show(spec)}, not a mapping", hint=f"write {name}: {{min: .., max: ..}}")
    if "parameters" in spec:
        raise UsageError(f"`{name}` holds parameters of its own", hint=f"name them flat, as in `{name}.lr`")
    for key in spec:
        if key not in _SPEC_KEYS:
            raise UsageError(
                f"`{name}` has `{key}`, which is not read here", hint=f"read are {', '.join(sorted(_SPEC_KEYS))}"
            )
    if "value" in spec:
        return Fixed(name=name, value=spec["value"])
    if "values" in spec:
        values = spec["values"]
        if not isinstance(values, list):
            raise UsageError(f"`values` of `{name}` is {show(values)}, not a list", hint="write values: [a, b, c]")
        if len(values) == 1:
            return Fixed(name=name, value=values[0])
        return Choice(name=name, values=tuple(values), ordered=ordered_by_nature(values))
    low, high = (_number(name, spec, key) for key in ("min", "max"))
    whole = isinstance(low, int) and isinstance(high, int)
    distribution = spec.get("distribution", "int_uniform" if whole else "uniform")
    if distribution not in _DISTRIBUTIONS:
        raise UsageError(
            f"`{name}` has the distribution `{distribution}`, which has no counterpart here",
            hint=f"read are {', '.join(sorted(_DISTRIBUTIONS))}",
        )
    if distribution == "int_uniform":
        if not whole:
            raise UsageError(f"`{name}` is int_uniform between {show(low)} and {show(high)}", hint="use whole bounds")
        return Integer(name=name, low=int(low), high=int(high))
    if distribution == "log_uniform":
        # There, its bounds are natural logarithms of the values.
        if max(abs(low), abs(high)) > 600:
            raise UsageError(f"`{name}` spans e^{show(low)} to e^{show(high)}", hint="use log_uniform_values")
        return Real(name=name, low=math.exp(low), high=math.exp(high), log=True)
    step = _number(name, spec, "q") if "q" in spec else 1
    if distribution == "q_uniform":
        if whole and isinstance(step, int):
            return Integer(name=name, low=int(low), high=int(high), step=step)
        return Real(name=name, low=float(low), high=float(high), step=float(step))
    if distribution == "q_log_uniform_values":
        if not whole or step != 1:
            raise UsageError(f"`{name}` is on a log scale in steps of {show(step)}", hint="use whole bounds and q: 1")
        return Integer(name=name, low=int(low), high=int(high), log=True)
    return Real(name=name, low=float(low), high=float(high), log=distribution == "log_uniform_values")


def _number(name: str, spec: Mapping[str, Any], key: str) -> int | float:
    value = spec.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what = f"is {show(value)}" if key in spec else "is missing"
        raise UsageError(f"`{key}` of `{name}` {what}", hint=f"write {name}: {{min: .., max: ..}} with two numbers")
    return value


def _command_of(table: Mapping[str, Any]) -> list[str]:
    """The words of the command; wandb's own placeholders for the interpreter and the params are left out."""
    program = table.get("program")
    words = table.get("command")
    if words is None:
        return [str(program)] if program else []
    if not isinstance(words, list):
        raise UsageError(f"`command` is {show(words)}, not a list", hint="write one word a line")
    known = {"${env}": None, "/usr/bin/env": None, "${interpreter}": None, "${args}": None, "python": None}
    result = []
    for word in map(str, words):
        if word == "${program}":
            if not program:
                raise UsageError("`command` uses ${program}, but the file names none", hint="add program: train.py")
            result.append(str(program))
        elif word.startswith("${") and word not in known:
            raise UsageError(
                f"`command` uses {word}, which is not read here", hint="params are appended as --name=value"
            )
        elif word not in known:
            result.append(word)
    return result


def _stop_of(rule: object) -> dict[str, Any] | None:
    if rule is None:
        return None
    if not isinstance(rule, Mapping) or rule.get("type") != "hyperband":
        raise UsageError(
            f"`early_terminate` is {show(rule)}", hint="write early_terminate: {type: hyperband, min_iter: 3}"
        )
    eta = rule.get("eta", 3)
    # Theirs stops at rungs without brackets, which is what is called asha here.
    if "min_iter" in rule:
        return {"rule": "asha", "min": rule["min_iter"], "eta": eta}
    if "max_iter" in rule:
        most = rule["max_iter"]
        least = most / eta ** int(rule.get("s", 2)) if isinstance(most, (int, float)) else most
        return {"rule": "asha", "min": least, "max": most, "eta": eta}
    raise UsageError("`early_terminate` has neither `min_iter` nor `max_iter`", hint="add min_iter: 3")
