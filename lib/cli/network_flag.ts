import { CniError } from "../cni/error.ts";
import type { WantedNetwork } from "../pod/request.ts";
import { refuseFrom, settingsOf, type SettingTable, type SettingText, textsOf } from "../pod/setting.ts";
import { pair } from "../pod/setting_text.ts";
import { SETTINGS } from "../pod/settings.ts";

/** Where a text comes from, and the settings that it may have. */
interface Syntax {
  /** For errors to name. */
  readonly source: string;
  /** The settings by their keys. */
  readonly keys: ReadonlyMap<string, SettingText>;
  readonly table: SettingTable;
}

function syntaxOf(source: string, table: SettingTable): Syntax {
  const keys = textsOf(table).flatMap((text) => text.key === undefined ? [] : [[text.key, text] as const]);
  return { source, keys: new Map(keys), table };
}

/**
 * Returns the networks that the flags ask for.
 *
 * @throws {CniError} kind `usage`, naming flag, key and value
 */
export function wantedNetworks(
  texts: readonly string[],
  table: SettingTable = SETTINGS,
): readonly WantedNetwork[] | "none" | undefined {
  if (texts.length === 0) return undefined;
  const syntax = syntaxOf("--network", table);
  return networksOf(texts.map((text) => splitAtCommas(text, syntax)), syntax);
}

/**
 * Returns the networks of a list, one or several on a line, each as the flag takes it. Between commas, an item without
 * "=" is the next network, unless it is a key that can stand alone.
 *
 * @throws {CniError} kind `usage`, naming key and value
 */
export function wantedNetworkItems(
  source: string,
  text: string,
  table: SettingTable = SETTINGS,
): readonly WantedNetwork[] | "none" {
  const syntax = syntaxOf(source, table);
  const networks: string[][] = [];
  for (const line of text.split("\n").map((line) => line.trim()).filter((line) => line !== "")) {
    for (const [index, item] of splitAtCommas(line, syntax).entries()) {
      const isSetting = item.includes("=") || canStandAlone(item.trim(), syntax);
      if (index === 0 || !isSetting) networks.push([item.trim()]);
      else networks.at(-1)?.push(item.trim());
    }
  }
  return networksOf(networks, syntax);
}

function networksOf(
  networks: readonly (readonly string[])[],
  syntax: Syntax,
): readonly WantedNetwork[] | "none" {
  const isNone = (items: readonly string[]) => items.length === 1 && items[0] === "none";
  if (!networks.some(isNone)) return networks.map((items) => networkOf(items, syntax));
  if (networks.length === 1) return "none";
  throw new CniError("usage", `${syntax.source}: "none" means no network, and there are others`, {
    hint: "a network of that name needs its interface, as in none:eth0",
  });
}

/** `NET[:IFNAME][,KEY=VALUE...]` */
export function wantedNetwork(text: string, table: SettingTable = SETTINGS): WantedNetwork {
  const syntax = syntaxOf("--network", table);
  return networkOf(splitAtCommas(text, syntax), syntax);
}

function networkOf([head = "", ...items]: readonly string[], syntax: Syntax): WantedNetwork {
  const { source, table } = syntax;
  const [name = "", ifName, ...more] = head.split(":");
  if (name === "" || ifName === "" || more.length > 0) {
    throw new CniError("usage", `${source}: "${head}" is not NET[:IFNAME]`);
  }
  if (name === "none" && ifName === undefined) {
    throw new CniError("usage", `${source}: "none" means no network, which has no settings`, {
      hint: "a network of that name needs its interface, as in none:eth0",
    });
  }
  return {
    name,
    ...(ifName === undefined ? {} : { ifName }),
    ...settingsOf(readItems(items, syntax), table),
  };
}

function readItems(items: readonly string[], syntax: Syntax): ReadonlyMap<SettingText, readonly unknown[]> {
  const { source, keys } = syntax;
  const read = new Map<SettingText, readonly unknown[]>();
  for (const item of items) {
    const isAlone = canStandAlone(item, syntax);
    const [key, value] = isAlone ? [item, ""] : pair(item, refuseFrom(source));
    const text = keys.get(key);
    if (text === undefined) {
      throw new CniError("usage", `${source}: unknown key "${key}" in "${item}"`, {
        details: `keys are ${[...keys.keys()].join(", ")}`,
      });
    }
    if (!isAlone && value === "") throw new CniError("usage", `${source}: "${item}" has no value`);
    const values = read.get(text) ?? [];
    if (values.length > 0) requireRepeatable(text, { source, key, value, values, isAlone });
    const next = isAlone ? text.alone?.value : text.read(value, refuseFrom(`${source} ${key}`));
    read.set(text, [...values, next]);
  }
  return read;
}

/** A key that is given once more. */
interface Repeated {
  readonly source: string;
  readonly key: string;
  readonly value: string;
  readonly values: readonly unknown[];
  readonly isAlone: boolean;
}

function requireRepeatable(
  { once, alone, placeholder }: SettingText,
  { source, key, value, values, isAlone }: Repeated,
): void {
  if (once) throw new CniError("usage", `${source}: ${key} is given twice, "${values[0]}" and "${value}"`);
  if (!isAlone && (alone === undefined || !values.includes(alone.value))) return;
  const without = `without a ${placeholder.toLowerCase()}`;
  throw new CniError("usage", `${source}: ${key} is given ${without} and once more`);
}

function canStandAlone(item: string, { keys }: Syntax): boolean {
  return keys.get(item)?.alone !== undefined;
}

/** Returns what stands between the commas, unescaped. */
function splitAtCommas(text: string, { keys }: Syntax): readonly string[] {
  const jsonKeys = [...keys].filter(([, { isJson }]) => isJson).map(([key]) => `${key}=`);
  const items: string[] = [];
  let item = "";
  for (let at = 0; at < text.length; at++) {
    if (item === "" && items.length > 0 && jsonKeys.some((key) => text.startsWith(key, at))) {
      const end = jsonEnd(text, at);
      item = text.slice(at, end);
      at = end;
    }
    const [char = "", next = ""] = [text[at], text[at + 1]];
    if (char === "\\" && (next === "," || next === "\\")) item += text[++at];
    else if (char !== ",") item += char;
    else {
      items.push(item);
      item = "";
    }
  }
  return [...items, item];
}

/** Returns the index of the next comma that is not inside a list, an object or a string of JSON. */
function jsonEnd(text: string, from: number): number {
  let depth = 0;
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    const char = text[at] ?? "";
    if (quoted && char === "\\") at++;
    else if (char === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (char === "," && depth <= 0) return at;
    else if ("[{".includes(char)) depth++;
    else if ("]}".includes(char)) depth--;
  }
  return text.length;
}
