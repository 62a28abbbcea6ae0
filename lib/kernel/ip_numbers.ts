// The numbers that `ip` prints, as numbers or by the names that the kernel's headers have. A machine may give them others.
const TABLES: Readonly<Record<string, number>> = { default: 253, main: 254, local: 255 };
const SCOPES: Readonly<Record<string, number>> = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 };
const PROTOCOLS: Readonly<Record<string, number>> = { redirect: 1, kernel: 2, boot: 3, static: 4, ra: 9 };

/** The number of a table of routes; undefined if it has an unknown name. */
export function numberedTable(shown: unknown): number | undefined {
  return numbered(shown, TABLES);
}

/** The number of the scope of a route; undefined if it has an unknown name. */
export function numberedScope(shown: unknown): number | undefined {
  return numbered(shown, SCOPES);
}

/** The number of what has made a route; undefined if it has an unknown name. */
export function numberedProtocol(shown: unknown): number | undefined {
  return numbered(shown, PROTOCOLS);
}

function numbered(shown: unknown, known: Readonly<Record<string, number>>): number | undefined {
  const text = String(shown);
  return /^\d+$/.test(text) ? Number(text) : known[text];
}
