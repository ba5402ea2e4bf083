"""The figures of `benchmarks.attack` as tables for people."""

from collections.abc import Mapping
from typing import Any


def show(figures: Mapping[str, Any]) -> None:
    """Print a table for each section that was run."""
    for name, found in figures.items():
        print(f"\n{_TITLES[name]}")
        _PRINTED[name](found)
    print()


def _accuracy(found: Mapping[str, Any]) -> None:
    _robust(found["robust accuracy"])
    print("The same classifier with its logits multiplied:")
    _robust(found["scale trap"])
    for key, row in found.items():
        if key.startswith("against "):
            print(
                f"  {key:<34} worst excess {row['worst_excess']:+.1f}, mean {row['mean_excess']:+.2f} points, "
                f"at {row['share_of_calls']:.3f} of its calls at most, {row['times_faster']:.1f} × faster"
            )


def _robust(rows: Mapping[str, Mapping[str, float]]) -> None:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    for number, column in enumerate(columns):
        print(f"  [{number}] {column}", end="\n" if number == len(columns) - 1 or number % 4 == 3 else "")
    print(f"  {'':<30}" + "".join(f"{f'[{number}]':>8}" for number in range(len(columns))))
    for name, row in rows.items():
        cells = (f"{100 * row[column]:8.1f}" if column in row else f"{'–':>8}" for column in columns)
        print(f"  {name:<30}" + "".join(cells))


def _speed(found: Mapping[str, Any]) -> None:
    names = list(found["speed"])
    print(f"  {'':<52}" + "".join(f"{name:>20}" for name in names))
    for key in found["speed"][names[0]]:
        print(f"  {key:<52}" + "".join(f"{found['speed'][name].get(key, float('nan')):20.2f}" for name in names))


def _lines(found: Mapping[str, Any]) -> None:
    for key, value in found.items():
        if isinstance(value, Mapping) and value and all(isinstance(inner, Mapping) for inner in value.values()):
            for name, inner in value.items():
                print(f"  {f'{key}: {name}':<40} {_inline(inner)}")
        else:
            print(f"  {key:<40} {_inline(value) if isinstance(value, Mapping) else _number(value)}")


def _campaigns(found: Mapping[str, Any]) -> None:
    for name, row in found["tick"].items():
        print(f"  tick, {name:<36} {row['seconds']:.3f} s, {row['parameters']:,.0f} parameters")
    for row in found["bracket"]:
        print(
            f"  {row['model']:<36} {row['level']}  attacked {row['attacked']:.3f}  certified {row['certified']:.3f}  "
            f"{row['points']:5.1f} points apart  {row['seconds per 1,024 rows']:.3f} s"
        )
    for name, points in found["median bracket, points"].items():
        print(f"  median, {name:<34} {points:.1f} points")


def _audit(found: Mapping[str, Any]) -> None:
    for name, raised in found["planted defects"].items():
        print(f"  {name:<40} {', '.join(raised) or 'MISSED'}")
    print(f"  {found['honest']:.0f} honest models, flagged: {found['doubted'] or 'none'}")


def _inline(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_number(value)}" for key, value in row.items())


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


_TITLES = {
    "accuracy": "Robust accuracy, %, lower is a stronger attack; mean over the seeds",
    "speed": "Time for 1,024 rows, mean over the ε of a world, one thread",
    "exactness": "Where the true answer is known",
    "constrained": "Constrained search, credit in raw units",
    "campaigns": "Ticks and brackets, raw units",
    "audit": "Flags of the self-audit",
}
_PRINTED = {
    "accuracy": _accuracy,
    "speed": _speed,
    "exactness": _lines,
    "constrained": _lines,
    "campaigns": _campaigns,
    "audit": _audit,
}
