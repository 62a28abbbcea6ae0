// A client of the CRI that is not ours: @grpc/grpc-js on Node. Reads one call a line from standard input, as JSON, and writes one
// answer a line: {id, code, details, response}. Its arguments are the folder with node_modules, api.proto and the socket.
import { Buffer } from "node:buffer";
import { createRequire } from "node:module";
import process from "node:process";
import { createInterface } from "node:readline";

const [folder, proto, socket] = process.argv.slice(2);
const require = createRequire(`${folder}/client.js`);
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const LARGEST = 64 * 1024 * 1024;
const definition = loader.loadSync(proto, { keepCase: true, enums: String, longs: String, defaults: true });
const { v1 } = grpc.loadPackageDefinition(definition).runtime;
const options = { "grpc.max_send_message_length": LARGEST, "grpc.max_receive_message_length": LARGEST };
const clients = new Map();
const running = new Map();

/** One client of each service and connection. */
function clientOf(service, connection) {
  const key = `${service} ${connection}`;
  const own = { ...options, "grpc.use_local_subchannel_pool": 1, podwire: connection };
  const made = clients.get(key) ??
    new v1[service](`unix://${socket}`, grpc.credentials.createInsecure(), own);
  clients.set(key, made);
  return made;
}

function answer(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function call(
  {
    id,
    service,
    method,
    request,
    timeoutMs,
    cancelAfterMs,
    connection = 0,
    padding = 0,
    metadata = {},
    bytes,
  },
) {
  const client = clientOf(service, connection);
  if (padding > 0) request.config.annotations = { padding: "x".repeat(padding) };
  const sent = new grpc.Metadata();
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value);
  const call = { deadline: timeoutMs === undefined ? Infinity : Date.now() + timeoutMs };
  const done = (error, response) => {
    running.delete(id);
    answer({
      id,
      code: error === null ? "OK" : grpc.status[error.code],
      details: error?.details ?? "",
      response,
    });
  };
  // A call that is cancelled before it was sent is not cancelled at the server: Node sends no more of it.
  if (cancelAfterMs !== undefined) setTimeout(() => running.get(id)?.cancel(), cancelAfterMs);
  if (bytes !== undefined) {
    const { path, responseDeserialize } = client[method];
    const raw = () => Buffer.from(bytes);
    return running.set(id, client.makeUnaryRequest(path, raw, responseDeserialize, sent, call, done));
  }
  if (!client[method].responseStream) return running.set(id, client[method](request, sent, call, done));
  const stream = client[method](request, sent, call);
  stream.on("data", (response) => answer({ id, event: response }));
  stream.on("error", (error) => done(error));
  stream.on("end", () => running.has(id) && done(null));
  running.set(id, stream);
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.cancel !== undefined) running.get(command.cancel)?.cancel();
  else if (command.close !== undefined) {
    // As if the process of the client had ended.
    for (const [key, client] of clients) if (key.endsWith(` ${command.close}`)) client.close();
  } else call(command);
}
for (const client of clients.values()) client.close();
