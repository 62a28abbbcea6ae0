import type { Dns } from "./result.ts";

/** Reads a file in the format of `/etc/resolv.conf`, see resolv.conf(5). */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain = "";
  for (const line of text.split("\n")) {
    const [word, ...values] = line.trim().split(/\s+/);
    const [first] = values;
    if (word === undefined || first === undefined || /^[#;]/.test(word)) continue;
    if (word === "nameserver") nameservers.push(first);
    else if (word === "domain") domain = first;
    else if (word === "search") search.push(...values);
    else if (word === "options") options.push(...values);
  }
  return {
    ...(nameservers.length > 0 ? { nameservers } : {}),
    ...(domain !== "" ? { domain } : {}),
    ...(search.length > 0 ? { search } : {}),
    ...(options.length > 0 ? { options } : {}),
  };
}

/** Whether a text can be one value in that format: anything else would be another value, or another line. */
export function isWord(text: string): boolean {
  return /^[!-~]+$/.test(text);
}

/**
 * Prints settings in that format. A domain is the first of the domains in which short names are looked up: a file has either.
 * Values that are not one word are left out, because they would be another line, or another value.
 */
export function printResolvConf({ nameservers = [], domain, search = [], options = [] }: Dns): string {
  const words = (values: readonly string[]) => [...new Set(values)].filter(isWord);
  const line = (word: string, values: readonly string[]) =>
    values.length === 0 ? "" : `${word} ${values.join(" ")}\n`;
  return [
    line("search", words(domain === undefined ? search : [domain, ...search])),
    ...words(nameservers).map((nameserver) => line("nameserver", [nameserver])),
    line("options", words(options)),
  ].join("");
}
