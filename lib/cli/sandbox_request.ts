import { CniError } from "../cni/error.ts";
import { parseCniArgs } from "../plugin/invocation.ts";
import type { NetworkSettings } from "../pod/request.ts";
import { refuseFrom, settingsOf, type SettingTable, textsOf } from "../pod/setting.ts";
import { SETTINGS, validateSettings } from "../pod/settings.ts";
import type { NetnsSource, SandboxRequest } from "../sandbox/request.ts";
import type { CommandInput } from "./command.ts";
import { pair, positive } from "./flag_value.ts";
import { netnsPath } from "./netns_path.ts";
import { wantedNetworks } from "./network_flag.ts";

/**
 * Returns the sandbox that the command line asks for.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function sandboxRequest(input: CommandInput, table: SettingTable = SETTINGS): SandboxRequest {
  const [name] = input.operands;
  return {
    ...defined({
      name,
      namespace: input.value("namespace"),
      uid: input.value("uid"),
      // The UID is for the plugins: the name on the command line is that of one sandbox all the same.
      uniqueName: input.value("uid") === undefined ? undefined : true,
      id: input.value("id"),
      networks: wantedNetworks(input.list("network"), table),
    }),
    ...settingsOfFlags(input, table),
    ...defined({ labels: pairs(input, "label"), sysctls: pairs(input, "sysctl") }),
    source: netnsSource(input),
    replace: input.flag("replace"),
    ...(input.flag("allow-overlap") ? { allowOverlap: true } : {}),
  };
}

/** If a key is given more than once, its last value counts, as with flags. */
function pairs(input: CommandInput, name: string): Readonly<Record<string, string>> | undefined {
  const texts = input.list(name);
  return texts.length === 0 ? undefined : Object.fromEntries(texts.map((text) => pair(`--${name}`, text)));
}

/** Returns what is asked of the first network, or of all. */
function settingsOfFlags(input: CommandInput, table: SettingTable): NetworkSettings {
  const texts = textsOf(table);
  const read = new Map(texts.flatMap((text) => {
    const { flag, readFlag = text.read } = text;
    const given = flag === undefined ? [] : input.list(flag.name);
    if (flag === undefined || given.length === 0) return [];
    return [[text, given.map((value) => readFlag(value, refuseFrom(`--${flag.name}`)))] as const];
  }));
  const settings: NetworkSettings = settingsOf(read, table);
  validateSettings(settings, (path, problem) => refuseFrom(`--${flagOf(path, table)}`)(problem), table);
  // The environment of this process is for all networks.
  const args = [...parseCniArgs(input.io.env("CNI_ARGS") ?? "", "CNI_ARGS"), ...settings.args ?? []];
  return args.length === 0 ? settings : { ...settings, args };
}

/** Returns the flag that gives a member, such as `dns.servers[0]`. */
function flagOf(path: string, table: SettingTable): string {
  const [member = "", field] = path.replace(/\[.*$/, "").split(".");
  const texts = (table[member]?.texts ?? []).filter(({ flag }) => flag !== undefined);
  const text = texts.find((text) => text.field === field) ?? texts[0];
  return text?.flag?.name ?? member;
}

function netnsSource(input: CommandInput): NetnsSource {
  const path = input.value("netns");
  const pid = input.value("pid");
  const infra = input.flag("infra");
  const host = input.flag("host-network");
  const given = [
    path !== undefined && "--netns",
    pid !== undefined && "--pid",
    infra && "--infra",
    host && "--host-network",
  ].filter(Boolean);
  if (given.length > 1) throw new CniError("usage", `${given.join(" and ")} exclude each other`);
  const runtime = input.value("runtime");
  if (runtime !== undefined && !infra) throw new CniError("usage", "--runtime goes with --infra");
  if (path !== undefined) return { kind: "path", path: netnsPath(input, path) };
  if (pid !== undefined) return { kind: "pid", pid: positive("--pid", pid, 2 ** 22) };
  if (infra) return { kind: "infra", ...(runtime === undefined ? {} : { runtime }) };
  return { kind: host ? "host" : "new" };
}

function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(members).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
