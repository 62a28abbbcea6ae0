import { type JsonObject, printJson } from "../cni/json.ts";
import { MASK, maskedText, maskSecrets } from "../cni/mask_secrets.ts";
import { shellWord } from "../host/shell_word.ts";
import { oneLine } from "../host/terminal_text.ts";
import type { SandboxPlan } from "../sandbox/plan.ts";

type PlannedCall = SandboxPlan["calls"][number];

/** Returns the plan with what looks like a secret masked. */
export function maskedPlan(plan: SandboxPlan): SandboxPlan {
  return { ...plan, calls: plan.calls.map(masked) };
}

function masked(call: PlannedCall): PlannedCall {
  const environment = Object.entries(call.environment).map((
    [name, value],
  ) => [name, maskedText(name, value)]);
  return {
    ...call,
    environment: Object.fromEntries(environment),
    stdin: maskSecrets(call.stdin) as JsonObject,
  };
}

/** Returns the plan as a shell script that does by hand what the run would do: the namespace, and one plugin after another. */
export function planScript(plan: SandboxPlan): string {
  const { id, name, namespace, netns, isNew, calls, automaticPorts } = plan;
  const body = calls.map((call, at) => callLines(call, calls[at - 1])).join("\n");
  const isMasked = JSON.stringify(calls).includes(MASK);
  return [
    "#!/bin/sh",
    `# What \`podwire run\` would do for the sandbox ${comment(namespace)}/${
      comment(name)
    }, container ID ${id}.`,
    "# Nothing of it has been done. This script keeps no record: podwire will not know what it makes.",
    ...(isMasked ? [`# Secrets are shown as ${MASK}; --show-secrets prints them.`] : []),
    ...automaticPorts.map(({ containerPort, protocol }) =>
      `# The run chooses a port of the host for ${containerPort}/${protocol}, which is missing here`
    ),
    "set -eu",
    ...(isNew ? namespaceLines(netns) : []),
    ...(calls.length === 0 ? ["# No plugin runs."] : [body]),
    "",
  ].join("\n");
}

function namespaceLines(netns: string): readonly string[] {
  return [
    "",
    "# The namespace, and lo",
    `: >${shellWord(netns)}`,
    `unshare --net=${shellWord(netns)} ip link set lo up`,
  ];
}

/** The lines that run one plugin, with the result of the one before it in the same network. */
function callLines(call: PlannedCall, before: PlannedCall | undefined): string {
  const { network, ifName, plugin, index, count, path, environment, stdin } = call;
  const where = path === null ? "built into podwire" : comment(path);
  const variables = Object.entries(environment).map(([key, value]) =>
    `  ${shellWord(`${key}=${value}`)} \\\n`
  )
    .join("");
  const program = path === null ? `podwire plugin ${shellWord(plugin)}` : shellWord(path);
  const isFirst = before === undefined || index === 0;
  const text = printJson(stdin);
  const feed = isFirst
    ? `printf '%s' ${shellWord(text)}`
    : `printf '%s,"prevResult":%s}' ${shellWord(text.slice(0, -1))} "$result"`;
  return [
    "",
    `# ${index + 1} of ${count}: ${comment(plugin)} of the network "${comment(network)}" on ${
      comment(ifName)
    }, ${where}`,
    `result=$(${feed} | env -i \\\n${variables}  ${program})`,
    "printf '%s\\n' \"$result\"",
  ].join("\n");
}

/** A text that ends no comment. */
function comment(text: string): string {
  return oneLine(text);
}
