import type { NetworkSettings } from "../pod/request.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import { CniError } from "../cni/error.ts";
import type { CommandInput, OptionSpec } from "./command.ts";

/** What an annotation may ask for beside networks, where the administrator allows it, by the word that allows it. */
const WORDS = {
  ips: "ip",
  ipRanges: "ip-range",
  mac: "mac",
  bandwidth: "bandwidth",
  dns: "dns",
  aliases: "alias",
  args: "args",
  annotations: "annotation",
  capabilities: "cap",
  deviceID: "device",
  cgroupPath: "cgroup",
  name: "name",
  namespace: "namespace",
  uid: "uid",
  defaultRoute: "default-route",
} as const satisfies Record<
  Exclude<keyof NetworkSettings, "publish"> | "name" | "namespace" | "uid" | "defaultRoute",
  string
>;

type Allowable = keyof typeof WORDS;
const IDENTITY = ["name", "namespace", "uid"] as const;
const SETTINGS = (Object.keys(WORDS) as Allowable[]).filter((member) =>
  member !== "defaultRoute" && !IDENTITY.some((name) => name === member)
);

/** What pairs of `CNI_ARGS` stand for that could be asked for otherwise; the last of a key counts for plugins. */
const ARG_WORDS: Readonly<Record<string, string>> = {
  K8S_POD_NAME: "name",
  K8S_POD_NAMESPACE: "namespace",
  K8S_POD_UID: "uid",
  K8S_POD_INFRA_CONTAINER_ID: "uid",
  IP: "ip",
  MAC: "mac",
};

/** What authors of containers may ask for: those who write annotations are not those who administer the host. */
export interface HookRules {
  readonly words: ReadonlySet<string>;
  readonly hostPorts: readonly PortRange[];
  /** @default all */
  readonly networks?: ReadonlySet<string>;
}

/** From the first to the last, both included. */
interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** The options of the hook that allow something; the file of the hook hands them on. */
export const RULE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "allow-annotation",
    kind: "list",
    value: "WORD",
    help: `what annotations may ask for beside networks, repeatable: ${Object.values(WORDS).join(", ")}`,
  },
  {
    name: "allow-host-ports",
    kind: "list",
    value: "PORT[-PORT]",
    help: "host ports that podwire.ports may publish, repeatable",
  },
  {
    name: "allow-network",
    kind: "list",
    value: "NETWORK",
    help:
      "a network that podwire.networks may name, repeatable (default: all); the default network is always one",
  },
];

/** How long the stage that takes networks down may take. */
export const LIMIT_OPTION: OptionSpec = {
  name: "limit",
  kind: "value",
  value: "DURATION",
  help: "how long poststop may take (default 2m)",
};

/**
 * What the options of the hook allow.
 *
 * @throws {CniError} kind `usage`
 */
export function hookRules(input: CommandInput): HookRules {
  const words = itemsOf(input, "allow-annotation").map((text) => text.replace(/^podwire\./, ""));
  const known: readonly string[] = Object.values(WORDS);
  for (const word of words) {
    if (known.includes(word)) continue;
    throw new CniError("usage", `--allow-annotation: there is no "${word}"; there are ${known.join(", ")}`, {
      ...(word === "ports" || word === "publish" ? { hint: "--allow-host-ports allows podwire.ports" } : {}),
    });
  }
  const networks = itemsOf(input, "allow-network");
  return {
    words: new Set(words),
    hostPorts: itemsOf(input, "allow-host-ports").map(portRange),
    ...(networks.length > 0 && { networks: new Set(networks) }),
  };
}

/**
 * Refuses a sandbox whose annotations ask for more than is allowed, be it with an annotation of its own or among those of
 * a network.
 *
 * @throws {CniError} kind `permission`, naming the rule and the option
 */
export function requireAllowed(request: SandboxRequest, rules: HookRules): void {
  const { networks = [] } = request;
  const wanted = networks === "none" ? [] : networks;
  for (const { name, defaultRoute } of wanted) {
    // Which of its networks comes first, an author may say anyway; through which gateway is another matter.
    if (defaultRoute !== undefined && defaultRoute !== true) requireWord(WORDS.defaultRoute, rules);
    if (rules.networks?.has(name) ?? true) continue;
    throw refused(`network "${name}" is none of those that its hook allows`, `--allow-network ${name}`);
  }
  // The ID stands for a name that was not asked for.
  for (const member of IDENTITY) {
    if (request[member] !== undefined && request[member] !== request.id) requireWord(WORDS[member], rules);
  }
  for (const settings of [request, ...wanted]) {
    for (const member of SETTINGS) {
      if (settings[member as keyof NetworkSettings] !== undefined) requireWord(WORDS[member], rules);
    }
    for (const [key] of settings.args ?? []) {
      const word = ARG_WORDS[key.toUpperCase()];
      if (word !== undefined) requireWord(word, rules);
    }
    for (const { hostPort } of settings.publish ?? []) requirePort(hostPort, rules);
    // Plugins read the keys in it in any case, so that what it asks for cannot be told for sure.
    if (settings.capabilities?.portMappings !== undefined) {
      throw new CniError(
        "usage",
        "Cannot give networks to the container: its ports stand among its capabilities",
        {
          hint: "podwire.ports, or publish= behind a network, asks for ports",
        },
      );
    }
  }
}

function requireWord(word: string, { words }: HookRules): void {
  if (words.has(word)) return;
  throw refused(`its hook does not allow annotations to ask for "${word}"`, `--allow-annotation ${word}`);
}

function requirePort(port: number, { hostPorts }: HookRules): void {
  if (hostPorts.some(({ first, last }) => port >= first && port <= last)) return;
  const ranges = hostPorts.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`).join(
    ", ",
  );
  const allowed = ranges === "" ? "no host ports" : `the host ports ${ranges} only`;
  throw refused(
    `its hook allows ${allowed}, and an annotation asks for ${port}`,
    `--allow-host-ports ${port}`,
  );
}

function refused(problem: string, option: string): CniError {
  return new CniError("permission", `Cannot give networks to the container: ${problem}`, {
    hint: `${option} among the options of the hook allows it`,
  });
}

function portRange(text: string): PortRange {
  const [, from, to] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const range = { first: Number(from), last: Number(to ?? from) };
  if (range.first >= 1 && range.first <= range.last && range.last <= 65_535) return range;
  throw new CniError("usage", `--allow-host-ports: "${text}" is not PORT[-PORT]`);
}

/** Also between commas. */
function itemsOf(input: CommandInput, option: string): readonly string[] {
  return input.list(option).flatMap((text) => text.split(",")).map((item) => item.trim()).filter((item) =>
    item !== ""
  );
}
