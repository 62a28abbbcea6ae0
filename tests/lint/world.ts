// Configuration directories for the tests of lint.
import { CniError } from "../../lib/cni/error.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { builtins } from "../../lib/builtin/mod.ts";
import type { Finding } from "../../lib/lint/finding.ts";
import { type AskPlugin, gatherAnswers, gatherFiles } from "../../lib/lint/gather.ts";
import { lint } from "../../lib/lint/lint.ts";

/** Files by name: text, or what is written as JSON with an indent of two. */
export type Files = Readonly<Record<string, string | object>>;

/** Answers as a machine with the plugins of the CNI project would. */
export const allPlugins: AskPlugin = (type) => {
  if (Object.hasOwn(builtins, type) || type === "dhcp") {
    return Promise.resolve({
      isBuiltin: type !== "dhcp",
      versions: { cniVersion: "1.1.0", supportedVersions: SPEC_VERSIONS },
    });
  }
  return Promise.resolve({
    isBuiltin: false,
    error: new CniError("plugin-missing", `failed to find plugin "${type}" in path [/opt/cni/bin]`),
  });
};

/** Writes files into a new directory below `dir`, which is their network's, safe for root. */
export async function write(dir: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = `${dir}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o755 });
    await Deno.writeTextFile(path, typeof content === "string" ? content : JSON.stringify(content, null, 2));
    await Deno.chmod(path, 0o644);
  }
}

/** Runs `body` with a new directory. */
export async function inDir<T>(files: Files, body: (dir: string) => Promise<T>): Promise<T> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-lint-" });
  try {
    await write(dir, files);
    return await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** The findings in a directory, whose path is left out of them. */
export async function findings(
  dir: string,
  { ask = allPlugins, exclude = [], paths = [dir], allowUnsafeFiles = false }: {
    readonly ask?: AskPlugin;
    readonly exclude?: readonly string[];
    readonly paths?: readonly string[];
    readonly allowUnsafeFiles?: boolean;
  } = {},
): Promise<readonly Finding[]> {
  const files = await gatherFiles(paths, { allowUnsafeFiles });
  const found = lint({ files, answerOf: await gatherAnswers(files, ask) }, exclude);
  return found.map((finding) => JSON.parse(JSON.stringify(finding).replaceAll(`${dir}/`, "")) as Finding);
}

/** A list of that name with these plugins. */
export function list(name: string, plugins: readonly object[], more: object = {}): object {
  return { cniVersion: "1.0.0", name, ...more, plugins };
}

/** A bridge with addresses of that subnet. */
export function bridge(bridge: string, subnet: string, more: object = {}, range: object = {}): object {
  return {
    type: "bridge",
    bridge,
    isGateway: true,
    ipMasq: true,
    ...more,
    ipam: { type: "host-local", ranges: [[{ subnet, ...range }]], routes: [{ dst: "0.0.0.0/0" }] },
  };
}

/** portmap as it should be. */
export const PORTMAP = { type: "portmap", capabilities: { portMappings: true } };
