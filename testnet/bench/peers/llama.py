"""llama.cpp, as a peer of hive-bench: decodes and reads with one model.

    llama.py MODEL THREADS TOKENS PROMPT LONG...

Continues PROMPT greedily by TOKENS tokens, then reads each of the LONG prompts, and says in a line of
JSON on stdout what that took: seconds by the clock and of the processor, and the peak of memory.

As it comes, but for what is compared: the processor alone, so many threads, greedy, nothing of a
prompt remembered from the one before.
"""

import json
import os
import resource
import sys
import urllib.request

import xllamacpp


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def start(model, threads):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_ctx = 1024
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = True
    params.verbosity = -1
    return xllamacpp.Server(params)


def complete(server, prompt, n, remember):
    body = {
        "prompt": prompt,
        "n_predict": n,
        "temperature": 0.0,
        "ignore_eos": True,
        "cache_prompt": remember,
    }
    request = urllib.request.Request(
        server.listening_address + "/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    before = cpu_seconds()
    with urllib.request.urlopen(request) as reply:
        answer = json.load(reply)
    return answer, cpu_seconds() - before


def main():
    model, threads, tokens, prompt, long = *sys.argv[1:5], sys.argv[5:]
    server = start(model, int(threads))
    # The second has its prompt in the cache, so what it computes is decoding.
    complete(server, prompt, 1, True)
    answer, cpu = complete(server, prompt, int(tokens), True)
    timings = answer["timings"]
    said = {
        "version": "llama.cpp of xllamacpp "
        + __import__("importlib.metadata").metadata.version("xllamacpp"),
        "text": answer["content"],
        "decoded": {
            "tokens": timings["predicted_n"],
            "seconds": timings["predicted_ms"] / 1e3,
            "cpu": cpu,
        },
        "read": [],
    }
    for text in long:
        answer, cpu = complete(server, text, 1, False)
        timings = answer["timings"]
        said["read"].append(
            {"tokens": timings["prompt_n"], "seconds": timings["prompt_ms"] / 1e3, "cpu": cpu}
        )
    said["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(said), flush=True)
    # Its threads would be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
