import { CniError } from "../cni/error.ts";
import type { NetworkSettings } from "../pod/request.ts";
import { type Setting, type SettingTable, valueOf } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { PortSpan } from "../state/automatic_ports.ts";
import type { CommandInput, OptionSpec } from "./command.ts";

/** The members of a sandbox beside its settings, each its own word of `--allow-annotation`. */
const IDENTITY = ["name", "namespace", "uid"] as const;

/** The words of `--allow-annotation` for pairs of `CNI_ARGS` that say what the sandbox is. */
const IDENTITY_ARGS: Readonly<Record<string, string>> = {
  K8S_POD_NAME: "name",
  K8S_POD_NAMESPACE: "namespace",
  K8S_POD_UID: "uid",
  K8S_POD_INFRA_CONTAINER_ID: "uid",
};

/** Returns the words of `--allow-annotation`. */
function wordsOf(table: SettingTable): readonly string[] {
  const words = Object.values(table).flatMap(({ permission }) =>
    "word" in permission ? [permission.word] : []
  );
  return [...words, ...IDENTITY];
}

/** Returns the word for a pair of `CNI_ARGS` that stands for something with a word; plugins take the last of a key. */
function argWord(key: string, table: SettingTable): string | undefined {
  const name = key.toUpperCase();
  const setting = Object.values(table).find(({ cniArg }) => cniArg?.key === name);
  if (setting !== undefined && "word" in setting.permission) return setting.permission.word;
  return IDENTITY_ARGS[name];
}

/** What authors of containers may ask for: the author of an annotation need not be the administrator of the host. */
export interface HookRules {
  readonly words: ReadonlySet<string>;
  readonly hostPorts: readonly PortSpan[];
  /** @default all */
  readonly networks?: ReadonlySet<string>;
}

/** Returns the options of the hook that allow something, which are part of the command line in the hook's file. */
export function ruleOptions(table: SettingTable = SETTINGS): readonly OptionSpec[] {
  return [
    {
      name: "allow-annotation",
      kind: "list",
      value: "WORD",
      help: `what annotations may ask for beside networks, repeatable: ${wordsOf(table).join(", ")}`,
    },
    {
      name: "allow-host-ports",
      kind: "list",
      value: "PORT[-PORT]",
      help: "host ports that annotations may publish, repeatable",
    },
    {
      name: "allow-network",
      kind: "list",
      value: "NETWORK",
      help:
        "a network that annotations may name, repeatable (default: all); the default network is always allowed",
    },
  ];
}

/** The time limit of the stage that tears networks down. */
export const LIMIT_OPTION: OptionSpec = {
  name: "limit",
  kind: "value",
  value: "DURATION",
  help: "how long poststop may take (default 2m)",
};

/**
 * Returns what the options of the hook allow.
 *
 * @throws {CniError} kind `usage`
 */
export function hookRules(input: CommandInput, table: SettingTable = SETTINGS): HookRules {
  const words = itemsOf(input, "allow-annotation").map((text) => text.replace(/^podwire\./, ""));
  const known = wordsOf(table);
  for (const word of words) {
    if (known.includes(word)) continue;
    throw new CniError("usage", `--allow-annotation: "${word}" is not one of ${known.join(", ")}`, {
      ...hintForPorts(word, table),
    });
  }
  const networks = itemsOf(input, "allow-network");
  return {
    words: new Set(words),
    hostPorts: itemsOf(input, "allow-host-ports").map(portRange),
    ...(networks.length > 0 && { networks: new Set(networks) }),
  };
}

/** Returns the hint that ports are allowed by number, if a word means them. */
function hintForPorts(word: string, table: SettingTable): { readonly hint?: string } {
  const text = Object.values(table).filter(({ permission }) => "hostPorts" in permission)
    .flatMap(({ texts }) => texts).find(({ key, annotation }) => word === key || word === annotation);
  return text === undefined ? {} : { hint: `--allow-host-ports allows podwire.${text.annotation}` };
}

/**
 * Refuses a sandbox whose annotations ask for more than is allowed, whether in an annotation of its own or among the
 * settings of a network.
 *
 * @throws {CniError} kind `permission`, naming the rule and the option
 */
export function requireAllowed(
  request: SandboxRequest,
  rules: HookRules,
  table: SettingTable = SETTINGS,
): void {
  const { networks = [] } = request;
  const wanted = networks === "none" ? [] : networks;
  for (const { name } of wanted) {
    if (rules.networks?.has(name) ?? true) continue;
    throw refused(`its hook does not allow the network "${name}"`, `--allow-network ${name}`);
  }
  // Without an annotation, the name is the ID.
  for (const member of IDENTITY) {
    if (request[member] !== undefined && request[member] !== request.id) requireWord(member, rules);
  }
  for (const settings of [request, ...wanted]) {
    for (const [member, setting] of Object.entries(table)) {
      const value = valueOf(settings, member);
      if (value !== undefined) requirePermission(setting, value, rules);
      requireNoPortsByCapability(setting, settings);
    }
    for (const [key] of settings.args ?? []) {
      const word = argWord(key, table);
      if (word !== undefined) requireWord(word, rules);
    }
  }
}

function requirePermission({ permission }: Setting, value: unknown, rules: HookRules): void {
  if ("word" in permission) {
    if (permission.isHarmless?.(value) !== true) requireWord(permission.word, rules);
  } else {
    for (const ports of permission.hostPorts(value)) requirePorts(ports, rules);
  }
}

/** Plugins read the keys of a port mapping in any case, so it is not certain which ports a free capability asks for. */
function requireNoPortsByCapability(
  { permission, capability, texts }: Setting,
  { capabilities = {} }: NetworkSettings,
): void {
  if (!("hostPorts" in permission) || capability === undefined) return;
  if (!Object.hasOwn(capabilities, capability.name)) return;
  const ways = texts.map(({ annotation, key }) =>
    `podwire.${annotation}, or ${key}= behind a network, asks for ports`
  );
  throw new CniError(
    "usage",
    "Cannot give networks to the container: its ports are given as a capability",
    { hint: ways.join("; ") },
  );
}

function requireWord(word: string, { words }: HookRules): void {
  if (words.has(word)) return;
  throw refused(`its hook does not allow annotations to ask for "${word}"`, `--allow-annotation ${word}`);
}

/** Of ports of which one is chosen all have to be allowed. */
function requirePorts({ first, last }: PortSpan, { hostPorts }: HookRules): void {
  let next = first;
  // Each range that has the next port moves on, so that ranges may be next to each other.
  for (const range of hostPorts.toSorted((a, b) => a.first - b.first)) {
    if (range.first <= next && next <= range.last) next = range.last + 1;
  }
  if (next > last) return;
  const ranges = hostPorts.map(rangeText).join(", ");
  const allowed = ranges === "" ? "no host ports" : `the host ports ${ranges} only`;
  const wanted = rangeText({ first, last });
  throw refused(
    `its hook allows ${allowed}, and an annotation asks for ${wanted}`,
    `--allow-host-ports ${wanted}`,
  );
}

function rangeText({ first, last }: PortSpan): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

function refused(problem: string, option: string): CniError {
  return new CniError("permission", `Cannot give networks to the container: ${problem}`, {
    hint: `${option} among the options of the hook allows it`,
  });
}

function portRange(text: string): PortSpan {
  const [, from, to] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const range = { first: Number(from), last: Number(to ?? from) };
  if (range.first >= 1 && range.first <= range.last && range.last <= 65_535) return range;
  throw new CniError("usage", `--allow-host-ports: "${text}" is not PORT[-PORT]`);
}

/** Returns the values of an option, each of which may be several between commas. */
function itemsOf(input: CommandInput, option: string): readonly string[] {
  return input.list(option).flatMap((text) => text.split(",")).map((item) => item.trim()).filter((item) =>
    item !== ""
  );
}
