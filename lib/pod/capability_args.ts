import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import type { Json, JsonObject } from "../cni/json.ts";
import type { NetworkSettings } from "./pod_request.ts";
import { type Setting, type SettingTable, valueOf } from "./setting.ts";
import { SETTINGS } from "./settings.ts";

/** A capability argument that comes from a setting. */
interface SettingArg {
  readonly member: string;
  readonly name: string;
  readonly isOffered: boolean;
  readonly json: Json;
}

/** Options of {@linkcode capabilityArgs}. */
export interface CapabilityArgsOptions {
  /** Whether a plugin must declare the capability of a setting that `CNI_ARGS` carry too. @default {false} */
  readonly requireCapabilities?: boolean | undefined;
}

/**
 * Returns the capability arguments of an attachment: those of its settings, and `capabilities`.
 *
 * @throws {CniError} kind `usage`, if no plugin of the network takes what is asked for: it would look like success
 */
export function capabilityArgs(
  settings: NetworkSettings,
  list: NetworkConfigList,
  table: SettingTable = SETTINGS,
  { requireCapabilities = false }: CapabilityArgsOptions = {},
): JsonObject {
  const { capabilities = {} } = settings;
  const declared = new Set(list.plugins.flatMap((plugin) => plugin.capabilities));
  const args = Object.entries(table).flatMap(([member, setting]) =>
    argOf(member, setting, valueOf(settings, member), requireCapabilities ? undefined : declared)
  );
  for (const { member, name } of args) {
    if (!Object.hasOwn(capabilities, name)) continue;
    const msg = `${member} and capabilities.${name} both give the capability "${name}"`;
    throw new CniError("usage", msg, { network: list.name, path: `capabilities.${name}` });
  }
  const required = args.filter(({ isOffered }) => !isOffered).map(({ name }) => name);
  for (const name of [...required, ...Object.keys(capabilities)]) {
    if (!declared.has(name)) throw undeclared(name, list);
  }
  return { ...Object.fromEntries(args.map(({ name, json }) => [name, json])), ...capabilities };
}

function argOf(
  member: string,
  { capability, cniArg }: Setting,
  value: unknown,
  declared: ReadonlySet<string> | undefined,
): readonly SettingArg[] {
  const json = value === undefined ? undefined : capability?.toJson(value);
  if (capability === undefined || json === undefined) return [];
  const { name, isOffered = false } = capability;
  // CNI_ARGS carry it too, and the result shows whether it was given.
  if (declared?.has(name) === false && cniArg?.of(value) !== undefined) return [];
  return [{ member, name, isOffered, json }];
}

function undeclared(capability: string, list: NetworkConfigList): CniError {
  const types = list.plugins.map(({ type }) => type).join(", ");
  return new CniError(
    "usage",
    `no plugin of network "${list.name}" (${types}) takes the capability "${capability}"`,
    { hint: `give the network a plugin with "capabilities": {"${capability}": true}` },
  );
}
