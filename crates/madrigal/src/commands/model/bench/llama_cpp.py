"""The other side of `madrigal model bench --against llama.cpp`.

Reads one JSON request a line from stdin and answers each with one line of JSON on stdout. All work is done by
llama-cpp-python's low-level functions. Nothing is sampled: tokens come with the requests, so the time is that of
llama_decode alone.
"""

import json
import os
import sys
import time

# Whatever libraries print must not stand among the answers.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


class Failed(Exception):
    pass


class Side:
    def __init__(self, request):
        import llama_cpp as L

        self.L = L
        # Kept, or it would be collected while the library still calls it.
        self.silence = L.llama_log_callback(lambda level, text, data: None)
        if not request.get("verbose"):
            L.llama_log_set(self.silence, None)
        begun = time.perf_counter()
        parameters = L.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = L.llama_model_load_from_file(request["model"].encode(), parameters)
        if not self.model:
            raise Failed("llama.cpp cannot load the model")
        context = L.llama_context_default_params()
        context.n_ctx = request["context"]
        context.n_batch = 2048
        context.n_ubatch = 512
        context.n_seq_max = request["sequences"]
        context.n_threads = request["threads"]
        context.n_threads_batch = request["threads"]
        # Without it sequences cannot share the cells of a common prompt.
        context.kv_unified = True
        self.context = L.llama_init_from_model(self.model, context)
        if not self.context:
            raise Failed("llama.cpp cannot make a context")
        self.memory = L.llama_get_memory(self.context)
        self.adapters = []
        self.active = None
        # The first pass touches all weights.
        self.decode([(1, 0, [0], True)])
        self.ready = time.perf_counter() - begun

    def decode(self, rows):
        """rows: (token, position, sequences, wants logits)"""
        L = self.L
        batch = L.llama_batch_init(len(rows), 0, max(len(row[2]) for row in rows))
        batch.n_tokens = len(rows)
        for index, (token, position, sequences, wanted) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = len(sequences)
            for place, sequence in enumerate(sequences):
                batch.seq_id[index][place] = sequence
            batch.logits[index] = wanted
        result = L.llama_decode(self.context, batch)
        L.llama_synchronize(self.context)
        L.llama_batch_free(batch)
        if result != 0:
            raise Failed(f"llama_decode returned {result}")

    def read(self, ids, start, sequences):
        """Reads ids at positions from start on; the logits of the last are wanted."""
        last = len(ids) - 1
        self.decode([(token, start + index, sequences, index == last) for index, token in enumerate(ids)])

    def use(self, adapter):
        """Switches to an adapter by its number, or to none."""
        if adapter == self.active:
            return
        L = self.L
        if adapter is None:
            result = L.llama_set_adapters_lora(self.context, None, 0, None)
        else:
            import ctypes

            one = (L.llama_adapter_lora_p_ctypes * 1)(self.adapters[adapter])
            result = L.llama_set_adapters_lora(self.context, one, 1, (ctypes.c_float * 1)(1.0))
        if result != 0:
            raise Failed(f"llama_set_adapters_lora returned {result}")
        self.active = adapter

    def clear(self):
        self.use(None)
        self.L.llama_memory_clear(self.memory, True)

    def load_adapters(self, request):
        for path in request["paths"]:
            adapter = self.L.llama_adapter_lora_init(self.model, path.encode())
            if not adapter:
                raise Failed(f"llama.cpp cannot load the adapter {path}")
            self.adapters.append(adapter)
        return {}

    def prompt(self, request):
        self.clear()
        begun = time.perf_counter()
        self.read(request["ids"], 0, [0])
        return {"seconds": time.perf_counter() - begun}

    def together(self, request):
        """Agents that share a prompt speak in step: one batch a step."""
        self.clear()
        ids, agents = request["ids"], request["agents"]
        self.read(ids, 0, list(range(agents)))
        begun = time.perf_counter()
        for step in range(request["tokens"]):
            token = ids[step % len(ids)]
            self.decode([(token, len(ids) + step, [agent], True) for agent in range(agents)])
        return {"seconds": time.perf_counter() - begun}

    def adapted(self, request):
        """Agents that share a prompt speak with an adapter each: a batch has one adapter, so one by one."""
        self.clear()
        ids, agents = request["ids"], request["agents"]
        self.read(ids, 0, list(range(agents)))
        begun = time.perf_counter()
        for step in range(request["tokens"]):
            token = ids[step % len(ids)]
            for agent in range(agents):
                self.use(agent)
                self.decode([(token, len(ids) + step, [agent], True)])
        return {"seconds": time.perf_counter() - begun}

    def switch(self, request):
        """Another agent's adapter is put in place. Keys and values read under the one before do not serve it (a server
        empties the cache of a slot whose adapter changes), so its prompt is read again."""
        self.clear()
        ids = request["ids"]
        self.use(0)
        self.read(ids, 0, [0])
        begun = time.perf_counter()
        self.use(1)
        self.L.llama_memory_clear(self.memory, True)
        self.read(ids, 0, [0])
        return {"seconds": time.perf_counter() - begun}

    def conversation(self, request):
        """Each agent has a sequence. Before it speaks its whole prompt is given again, and what its sequence has already
        is not read again."""
        self.clear()
        prompts = [list(ids) for ids in request["personas"]]
        cached = [[] for _ in prompts]
        begun = time.perf_counter()
        for turn, (header, message) in enumerate(zip(request["headers"], request["messages"])):
            speaker = turn % len(prompts)
            for prompt in prompts:
                prompt.extend(header)
            prompt, have = prompts[speaker], cached[speaker]
            common = 0
            while common < min(len(have), len(prompt) - 1) and have[common] == prompt[common]:
                common += 1
            self.L.llama_memory_seq_rm(self.memory, speaker, common, -1)
            self.read(prompt[common:], common, [speaker])
            # The last token of a message is drawn and not read.
            for index, token in enumerate(message[:-1]):
                self.decode([(token, len(prompt) + index, [speaker], True)])
            cached[speaker] = prompt + message[:-1]
            for prompt in prompts:
                prompt.extend(message)
        return {"seconds": time.perf_counter() - begun}


def main():
    side = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                side = Side(request)
                answer = {"seconds": side.ready, "version": side.L.__version__}
            elif request["do"] == "version":
                import llama_cpp

                answer = {"version": llama_cpp.__version__}
            else:
                answer = getattr(side, request["do"])(request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        ANSWERS.write(json.dumps(answer) + "\n")
        ANSWERS.flush()


main()
