import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { LAST_PORT, PROTOCOLS } from "../cni/port_protocol.ts";
import { withSignals } from "../plugin/signals.ts";
import type { PublishedPort } from "../state/host_port.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";
import { addressPrefix, portTexts } from "./ports_text.ts";

/** `podwire port NAME [PORT[/PROTO]]` */
export async function port(input: CommandInput): Promise<number> {
  const { io, operands: [name = "", text] } = input;
  const wanted = text === undefined ? undefined : wantedPort(text);
  const { sandboxes } = openPodwire(input);
  const namespace = input.value("namespace");
  const sandbox = await withSignals(io, (signal) => sandboxes.get(name, { namespace, signal }));
  const all = sandbox.networks.flatMap(({ ports = [] }) => ports);
  const ports = wanted === undefined
    ? all
    : all.filter(({ containerPort, protocol }) =>
      containerPort === wanted.containerPort && (wanted.protocol ?? protocol) === protocol
    );
  if (wanted !== undefined && ports.length === 0) {
    throw new CniError("not-found", `no port of the host leads to the port ${text} of the sandbox "${name}"`);
  }
  const lines = wanted === undefined ? portTexts(ports) : ports.map(hostText);
  if (input.flag("json")) io.write(`${printJson(ports.map((one) => ({ ...one })), 2)}\n`);
  else io.write(lines.map((line) => `${line}\n`).join(""));
  return 0;
}

function hostText({ hostIP, hostPort }: PublishedPort): string {
  return `${addressPrefix(hostIP)}${hostPort}`;
}

function wantedPort(
  text: string,
): { readonly containerPort: number; readonly protocol: string | undefined } {
  const [, number, protocol] = /^(\d{1,5})(?:\/([a-z]+))?$/i.exec(text) ?? [];
  const containerPort = Number(number);
  const isKnown = protocol === undefined || PROTOCOLS.some((known) => known === protocol.toLowerCase());
  if (containerPort >= 1 && containerPort <= LAST_PORT && isKnown) {
    return { containerPort, protocol: protocol?.toLowerCase() };
  }
  throw new CniError("usage", `"${text}" is not PORT[/PROTO]`);
}
