"""Requests per second, latency and memory of `gtpt serve` on this machine, over loopback.

    python benchmarks/serving.py --requests 400 --clients 1 8 64       # the table of docs/serve.md
    python benchmarks/serving.py --memory 20000                        # whether memory stays flat, in ten steps

Client and server share the cores. Each request is a demo photo with the box of its person; `--weights` takes another
network: a tiny one shows the memory of the server in less time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
BOXES = {"astronaut.jpg": [22, 12, 370, 512], "cameraman.jpg": [0, 62, 340, 512], "grace_hopper.jpg": [5, 20, 512, 600]}


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


async def load(url: str, requests: int, clients: int) -> tuple[float, np.ndarray]:
    """Seconds for all requests, and those of each."""
    photos = [((PHOTOS / name).read_bytes(), json.dumps([box])) for name, box in BOXES.items()]
    numbers, seconds = iter(range(requests)), []

    async def client(session: httpx.AsyncClient) -> None:
        for number in numbers:
            data, boxes = photos[number % len(photos)]
            begin = time.perf_counter()
            answer = await session.post("/v1/poses", params={"boxes": boxes}, content=data, headers=JPEG)
            answer.raise_for_status()
            seconds.append(time.perf_counter() - begin)

    async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=clients)) as session:
        begin = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return time.perf_counter() - begin, np.array(seconds)


JPEG = {"content-type": "image/jpeg"}


def table(url: str, pid: int, requests: int, clients: list[int]) -> None:
    print("| clients | requests/s | p50 ms | p99 ms | memory MB |\n|---:|---:|---:|---:|---:|")
    for number in clients:
        total, seconds = asyncio.run(load(url, requests, number))
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        print(f"| {number} | {len(seconds) / total:.1f} | {p50:.0f} | {p99:.0f} | {resident_mb(pid):.0f} |", flush=True)


def memory(url: str, pid: int, requests: int) -> None:
    print("| requests | memory MB |\n|---:|---:|")
    for step in range(11):
        if step:
            asyncio.run(load(url, requests // 10, 16))
        print(f"| {step * (requests // 10):,} | {resident_mb(pid):.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--weights", default="gtpt-t-coco17")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    program = [sys.executable, "-c", "from gtpt.cli import main; main()", "serve", "--detector", "whole-image"]
    program += ["--weights", arguments.weights]
    server = subprocess.Popen(
        [*program, "--port", str(arguments.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{arguments.port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        asyncio.run(load(url, 16, 4))
        if arguments.memory:
            memory(url, server.pid, arguments.memory)
        else:
            table(url, server.pid, arguments.requests, arguments.clients)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
