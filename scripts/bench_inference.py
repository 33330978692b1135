"""Compares hive's `generate` example with llama.cpp on one model; see bench-inference.sh.

Rounds alternate between the two, so that a busy minute hits both, and the best round of each
counts: noise only ever slows down. The decoding alone is timed, not the prompt.
"""

import json
import os
import resource
import subprocess
import sys

PROMPT = "The capital of France is"


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def llama(model, tokens, threads):
    """Runs in a process of its own: prints one line of JSON."""
    import urllib.request

    import psutil
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_ctx = 1024
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = True
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def complete(n):
        body = {"prompt": PROMPT, "n_predict": n, "temperature": 0.0, "ignore_eos": True}
        request = urllib.request.Request(
            server.listening_address + "/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request))

    # The second has its prompt in the cache, so what it computes is decoding.
    complete(1)
    before = cpu_seconds()
    answer = complete(tokens)
    cpu = cpu_seconds() - before
    timings = answer["timings"]
    print(
        json.dumps(
            {
                "tokens_per_second": timings["predicted_per_second"],
                "tokens_per_cpu_second": timings["predicted_n"] / cpu,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "text": answer["content"],
                "rss_mib": psutil.Process().memory_info().rss / 2**20,
            }
        ),
        flush=True,
    )
    os._exit(0)


def run(command, threads):
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads), CANDLE_NUM_THREADS=str(threads))
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done


def main():
    binary, model, tokens, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    print(f"{'':12}{'threads':>8}{'tok/s':>9}{'tok/CPU-s':>11}{'peak MiB':>10}")
    for threads in (1, 2):
        ours, theirs = [], []
        for _ in range(rounds):
            done = run([binary, model, PROMPT, tokens], threads)
            ours.append(json.loads(done.stderr.splitlines()[-1]))
            done = run([sys.executable, __file__, "--llama", model, tokens, str(threads)], threads)
            theirs.append(json.loads(done.stdout.splitlines()[-1]))
        best = {}
        for name, results in (("hive", ours), ("llama.cpp", theirs)):
            wall = max(result["tokens_per_second"] for result in results)
            cpu = max(result["tokens_per_cpu_second"] for result in results)
            peak = max(result["peak_mib"] for result in results)
            best[name] = (wall, cpu)
            print(f"{name:12}{threads:8}{wall:9.1f}{cpu:11.1f}{peak:10.0f}")
        wall, cpu = (a / b for a, b in zip(best["hive"], best["llama.cpp"]))
        print(f"{'ratio':12}{threads:8}{wall:9.2f}{cpu:11.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "--llama":
        llama(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
