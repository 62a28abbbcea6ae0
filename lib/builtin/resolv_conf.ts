import type { Dns } from "../cni/result.ts";

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
