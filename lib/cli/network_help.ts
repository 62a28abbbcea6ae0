import { type SettingTable, textsOf } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";

const WIDTH = 118;

/** Returns what the help of `run` says about the values of `--network` and of other settings. */
export function networkHelp(table: SettingTable = SETTINGS): string {
  const texts = textsOf(table);
  const keys = texts.flatMap(({ key, once, alone, placeholder }) => {
    if (key === undefined || alone !== undefined) return [];
    // A value that has a "=" of its own is shown, as KEY=VALUE alone would not explain it.
    return [{ once, words: placeholder.includes("=") ? `${key} (${placeholder})` : key }];
  });
  const keysOf = (isOnce: boolean) =>
    keys.filter(({ once = false }) => once === isOnce).map(({ words }) => words).join(", ");
  const forAll = Object.values(table).filter(({ scope }) => scope === "all").flatMap(({ texts }) =>
    texts.flatMap(({ flag }) => flag === undefined ? [] : [`--${flag.name}`])
  );
  const json = texts.flatMap(({ key, isJson }) => key !== undefined && isJson ? [key] : []);
  return [
    ...wrap(
      "--network names a network, and may give settings to this network alone: NET[:IFNAME][,KEY=VALUE...]. The keys are",
      "",
    ),
    ...wrap(`${keysOf(false)}, each as often as needed, and`),
    ...wrap(`${keysOf(true)}, each once.`),
    ...texts.flatMap(({ key, alone }) =>
      key === undefined || alone === undefined ? [] : wrap(`The key ${key} ${alone.help}.`)
    ),
    ...wrap(
      `Values are written as those of the flags. In a value write a comma as \\, and a backslash as \\\\, but not in ` +
        `the JSON of ${list(json)}.`,
      "",
    ),
    ...wrap("`none` alone means no network but lo; a network of that name is written none:IFNAME.", ""),
    ...wrap(
      `The flags beside --network are for the first network, but ${list(forAll)} are for all networks.`,
      "",
    ),
    ...texts.flatMap(({ placeholder, syntax }) =>
      syntax === undefined ? [] : wrap(`${placeholder} is ${syntax}.`, "")
    ),
  ].join("\n");
}

/** Returns `a, b and c`. */
function list(words: readonly string[]): string {
  const [last = "", ...before] = words.toReversed();
  return before.length === 0 ? last : `${before.toReversed().join(", ")} and ${last}`;
}

/** Returns the lines of a text, none longer than {@linkcode WIDTH} unless a word is. */
function wrap(text: string, indent = "  "): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= WIDTH) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(`${indent}${word}`);
  }
  return lines;
}
