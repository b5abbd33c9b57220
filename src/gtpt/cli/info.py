"""`gtpt info`: what a name or a file is, and what each variant costs."""

from __future__ import annotations

from typing import Any

import typer


def info(
    what: str = typer.Argument(
        None,
        metavar="[FILE|NAME]",
        help="Registered weights, an export or another *.onnx, *.safetensors, last.ckpt, an authors' *.pth, or a skeleton.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """What a file or a name is; without one, what each variant costs, beside the published figures."""
    import json

    from gtpt.core.extras import require

    if what is not None:
        from gtpt.about import about

        found = about(what)
        typer.echo(json.dumps(found) if as_json else _listed(found))
        return
    require("torch", "torch")
    from gtpt.model.info import info_json, info_table

    typer.echo(info_json() if as_json else info_table())


def _listed(found: dict[str, Any], indent: str = "") -> str:
    """A line per fact."""
    width = max(map(len, found), default=0)
    lines = []
    for name, value in found.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}", _listed(value, f"{indent}  ")]
        else:
            shown = "x".join(map(str, value)) if name == "input_size" else _shown(value)
            lines.append(f"{indent}{name:<{width}}  {shown}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join("-".join(map(str, v)) if isinstance(v, list) else str(v) for v in value) or "none"
    return str(value or "none")
