// An npm registry on loopback with one package: tests run where there is no network.

/** Serves one version of one package, as npm's own registry does. */
export class NpmRegistry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  private constructor(server: Deno.HttpServer<Deno.NetAddr>) {
    this.#server = server;
  }

  /** Packs `files`, paths on this machine by their names in the package. */
  static async of(
    name: string,
    version: string,
    files: Readonly<Record<string, string>>,
  ): Promise<NpmRegistry> {
    const archive = await pack(name, version, files);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", archive));
    const integrity = `sha512-${digest.toBase64()}`;
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
      const { origin, pathname } = new URL(url);
      if (pathname.endsWith(".tgz")) return new Response(archive);
      if (decodeURIComponent(pathname) !== `/${name}`) return new Response("{}", { status: 404 });
      const dist = { integrity, tarball: `${origin}/package.tgz` };
      const versions = { [version]: { name, version, dist } };
      return Response.json({ name, "dist-tags": { latest: version }, versions });
    });
    return new NpmRegistry(server);
  }

  /** The variables that make the real npm use it. */
  get environment(): Record<string, string> {
    return { npm_config_registry: `http://127.0.0.1:${this.#server.addr.port}/` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

async function pack(
  name: string,
  version: string,
  files: Readonly<Record<string, string>>,
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ prefix: "npm-registry-" });
  try {
    await Deno.mkdir(`${folder}/package`);
    await Deno.writeTextFile(`${folder}/package/package.json`, JSON.stringify({ name, version }));
    for (const [file, source] of Object.entries(files)) {
      await Deno.symlink(source, `${folder}/package/${file}`);
    }
    const args = ["--dereference", "-czf", `${folder}/package.tgz`, "-C", folder, "package"];
    const { success } = await new Deno.Command("tar", { args, env: { GZIP: "-1" } }).output();
    if (!success) throw new Error(`Cannot pack ${name}`);
    return await Deno.readFile(`${folder}/package.tgz`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
