"""llama.cpp's server on a free loopback port, from the prebuilt package xllamacpp.

Usage: llama_server.py MODEL.gguf [API_KEY]

Prints its address in one line when it is ready, and ends when its standard input does: so it never outlives the
test that started it, even if that is killed.
"""

import sys

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {"stories"}
    if len(sys.argv) > 2:
        params.api_keys = [sys.argv[2]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 512
    params.n_parallel = 1
    params.n_predict = 64
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.sampling.seed = 7
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
