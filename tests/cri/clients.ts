/** Programs of Kubernetes that no package has: a variable of the environment gives the path of each. */

/** The variables, by what is at their path. */
const VARIABLES = {
  crictl: "PODWIRE_TEST_CRICTL",
  critest: "PODWIRE_TEST_CRITEST",
  kubelet: "PODWIRE_TEST_KUBELET",
} as const;

export type Client = keyof typeof VARIABLES;

/** The path of a client; undefined if there is none. */
export function clientPath(client: Client): string | undefined {
  return Deno.env.get(VARIABLES[client]) || undefined;
}

/** The path of a client of a test that is not ignored. */
export function requireClient(client: Client): string {
  const path = clientPath(client);
  if (path === undefined) throw new Error(`${VARIABLES[client]} is not set`);
  return path;
}

const said = new Set<Client>();

/**
 * Spread it into a test's definition: the test is ignored, and counted as skipped, unless a variable names each client. The path must
 * be in the checkout or in HOME, which the machine of the tests shares.
 */
export function needClients(...clients: readonly Client[]): { readonly ignore: boolean } {
  const lacking = clients.filter((client) => clientPath(client) === undefined);
  for (const client of lacking) {
    if (!said.has(client)) console.error(`skipping the tests that need ${client}: set ${VARIABLES[client]}`);
    said.add(client);
  }
  return { ignore: lacking.length > 0 };
}
