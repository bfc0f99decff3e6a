# SPDX-License-Identifier: LGPL-2.1-or-later
"""A comparison's figures as Markdown tables, which are also what the terminal shows."""

from statistics import median

from works import BY_NAME, WORKS


def table(head, rows):
    """Markdown, with columns of even width; the first is text, the others are figures."""
    rows = [head] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|")
    return "\n".join(lines) + "\n"


def count(value):
    return f"{value / 1e3:.1f} k" if value >= 1e4 else f"{value:,.0f}"


def targets(result):
    rows = []
    for work in WORKS:
        found = {one["against"]: one for one in result["ratios"] if one["work"] == work.name}
        if found:
            rows.append([work.title] + [cell for against in ("two-hop", "one-hop") for cell in ratio_cells(found.get(against))])
    return table(["work", "against the best two hops", "aim", "", "against one hop", "aim", ""], rows)


def ratio_cells(one):
    if not one:
        return ["", "", ""]
    return [f"{one['value']:.2f} × {one['peer']}", f"≥ {one['target']}", "met" if one["value"] >= one["target"] else "**behind**"]


def bounds(result):
    names = {"cpu": "CPU of a request, of {}'s two processes", "p99": "99th percentile, of the best two hops' ({})"}
    return table(["bound", "work", "value", "at most", ""], [
        [names[one["what"]].format(one["peer"]), BY_NAME[one["work"]].title, f"{one['value']:.2f}", one["at_most"],
         "met" if one["value"] <= one["at_most"] else "**behind**"] for one in result["bounds"]])  # fmt: skip


def per_work(result, cell):
    """A row a work, a column a contestant."""
    rows = {(row["work"], row["contestant"]): row for row in result["summary"]}
    return table(["work"] + [c["name"] for c in result["contestants"]], [
        [work.title] + [cell(rows[work.name, c["name"]]) for c in result["contestants"]]
        for work in WORKS if all((work.name, c["name"]) in rows for c in result["contestants"])])  # fmt: skip


def throughput(result):
    return per_work(result, lambda row: f"{count(row['iops']['median'])} ({count(row['iops']['min'])}–{count(row['iops']['max'])})")


def bandwidth(result):
    return per_work(result, lambda row: f"{row['mb_per_s']['median']:,.0f}")


def latency(result):
    return per_work(result, lambda row: " / ".join(f"{row[key]['median']:,.0f}" for key in ("p50_us", "p99_us", "p999_us")))


def cpu(result):
    def cell(row):
        roles = {role: s["median"] for role, s in row["cpu_seconds_per_100k"].items()}
        return " + ".join(f"{role} {seconds:.2f}" for role, seconds in roles.items() if role != "client") + f", client {roles['client']:.2f}"

    return per_work(result, cell)


def memory(result):
    return per_work(result, lambda row: " + ".join(f"{s['median'] / 1024:.1f}" for s in row["peak_rss_kib"].values()))


def calls(result):
    def cell(processes):
        return " + ".join(f"{role} {one['per_request']:.2f}" for role, one in processes.items())

    rows = {(row["work"], row["contestant"]): row["processes"] for row in result["system_calls"]}
    works = [work for work in WORKS if any(key[0] == work.name for key in rows)]
    return table(["contestant"] + [work.title for work in works], [
        [c["name"]] + [cell(rows[work.name, c["name"]]) if (work.name, c["name"]) in rows else "" for work in works] for c in result["contestants"]])  # fmt: skip


def everything(result):
    parts = [("Aims: our IOPS as a multiple of a peer's", targets(result)), ("", bounds(result)),
             ("IOPS: median (minimum–maximum) of the rounds", throughput(result)), ("MB/s", bandwidth(result)),
             ("Latency in µs: median / 99th percentile / 99.9th", latency(result)), ("CPU seconds in 100,000 requests", cpu(result)),
             ("Peak of resident memory in MiB, process by process (a file in tmpfs that a process maps or reads is not in it)", memory(result))]  # fmt: skip
    if result["system_calls"]:
        parts.append(("System calls in a request", calls(result)))
    return "\n".join((f"{title}:\n\n" if title else "") + text for title, text in parts)


def head(result):
    settings, versions = result["settings"], result["versions"]
    return (f"`{result['command']}`, {result['date']}, commit {result['commit']}: runs of {settings['seconds']} s, {settings['rounds']} rounds, an image of "
            f"{settings['size'] >> 20} MiB in tmpfs, {result['processors']} processors ({result['processor']}), {', '.join(versions.values())}. "
            f"Load average at the start {result['load_before']:.2f}{others(result)}.\n")  # fmt: skip


def others(result):
    """How quiet the machine was; fio's start and what the kernel does for nobody are in it, about 5 %."""
    shares = [one["others"] for one in result["samples"] if "others" in one]
    return f"; other work took {median(shares):.0%} of the processors meanwhile (median of the runs; at most {max(shares):.0%})" if shares else ""
