// Ollama's wire as @copilotkit/aimock speaks it, on a free loopback port.
//
// Usage: node aimock_server.js FOLDER, where FOLDER holds node_modules/.
//
// Prints its address in one line when it is ready, and ends when its standard input does.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const packages = createRequire(pathToFileURL(join(folder, "package.json")));
const { LLMock } = packages("@copilotkit/aimock");

const mock = new LLMock({ host: "127.0.0.1", port: 0, chunkSize: 5 });
mock.onMessage("think", { content: "It rains.", reasoning: "Is it wet outside?" });
mock.onMessage("busy", { error: { message: "overloaded", type: "server_error" }, status: 503 });
mock.onMessage(/./, { content: "Rain again, and no end of it." });
console.log(await mock.start());

process.stdin.resume();
process.stdin.on("end", async () => {
  await mock.stop();
  process.exit(0);
});
