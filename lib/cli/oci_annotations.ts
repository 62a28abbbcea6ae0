import { CniError } from "../cni/error.ts";
import {
  type ReadTexts,
  refuseFrom,
  type Setting,
  settingsOf,
  type SettingTable,
  type SettingText,
} from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { SandboxContainer } from "../sandbox/container_record.ts";
import type { OciState } from "../sandbox/oci_state.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import { wantedNetworkItems } from "./network_flag.ts";

/** The beginning of the names of podwire's annotations. */
const PREFIX = "podwire.";
/** The annotation without which the hook does nothing for a container. */
export const NETWORKS = `${PREFIX}networks`;
/** The label of sandboxes that the hook has made; its value is the bundle. */
export const HOOK_LABEL = "podwire.oci-bundle";

type Reader = (name: string, text: string) => Partial<SandboxRequest>;

/** Returns a reader for each annotation, in the order of the help. */
function readersOf(table: SettingTable): Readonly<Record<string, Reader>> {
  const settings = annotatedTexts(table).map(({ name, text }) =>
    [name, (_: string, value: string) => settingsOf(readText(name, text, value), table)] as const
  );
  return {
    [NETWORKS]: (name, text) => {
      const networks = networksOf(name, text, table);
      return networks === undefined ? {} : { networks };
    },
    ...Object.fromEntries(settings),
    [`${PREFIX}name`]: (_, name) => ({ name: name.trim() }),
    [`${PREFIX}namespace`]: (_, namespace) => ({ namespace: namespace.trim() }),
    [`${PREFIX}uid`]: (_, uid) => ({ uid: uid.trim(), uniqueName: true }),
  };
}

/** A setting that an annotation gives. */
export interface AnnotatedText {
  /** The name of the annotation. */
  readonly name: string;
  readonly setting: Setting;
  readonly text: SettingText;
}

/** Returns the settings of a table that have an annotation. */
export function annotatedTexts(table: SettingTable): readonly AnnotatedText[] {
  return Object.values(table).flatMap((setting) =>
    setting.texts.flatMap((text) =>
      text.annotation === undefined ? [] : [{ name: `${PREFIX}${text.annotation}`, setting, text }]
    )
  );
}

/**
 * Returns the sandbox that a container's annotations ask for; undefined if they ask for none.
 *
 * @throws {CniError} kind `usage`, naming the annotation
 */
export function sandboxOfContainer(
  { id, pid, bundle, annotations }: OciState,
  calledBy?: Omit<SandboxContainer, "bundle">,
  table: SettingTable = SETTINGS,
): SandboxRequest | undefined {
  const readers = readersOf(table);
  const names = Object.keys(annotations).filter((name) => name.startsWith(PREFIX)).sort();
  if (names.length === 0) return undefined;
  const unknown = names.filter((name) => !Object.hasOwn(readers, name));
  if (unknown.length > 0) {
    throw new CniError("usage", `unknown annotation ${unknown.join(", ")}`, {
      hint: `there are ${Object.keys(readers).join(", ")}`,
    });
  }
  if (!names.includes(NETWORKS)) {
    throw new CniError(
      "usage",
      `the annotation ${names.join(", ")} asks something of networks, and no network is named`,
      { hint: `name the networks in ${NETWORKS}; empty for the default network` },
    );
  }
  if (pid === undefined) throw new CniError("usage", 'the container state has no "pid"');
  const settings = Object.assign({}, ...names.map((name) => readers[name]?.(name, annotations[name] ?? "")));
  const container = calledBy && { container: { ...calledBy, bundle } };
  return {
    id,
    name: id,
    ...settings,
    labels: { [HOOK_LABEL]: bundle },
    source: { kind: "pid", pid, ...container },
  };
}

function networksOf(name: string, text: string, table: SettingTable): SandboxRequest["networks"] {
  const trimmed = text.trim();
  return trimmed === "" || trimmed === "default" ? undefined : wantedNetworkItems(name, trimmed, table);
}

function readText(name: string, text: SettingText, value: string): ReadTexts {
  const values = text.once ? [value.trim()] : listOf(value);
  return new Map([[text, values.map((item) => text.read(item, refuseFrom(name)))]]);
}

/** Returns the items of a list: one a line or, on one line, between commas. */
function listOf(text: string): readonly string[] {
  const items = text.trim().split(text.trim().includes("\n") ? "\n" : ",");
  return items.map((item) => item.trim()).filter((item) => item !== "");
}
