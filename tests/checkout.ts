import { fromFileUrl } from "@std/path";
import { copyExecutable, writeExecutable } from "./executable.ts";

const ROOT = fromFileUrl(new URL("../", import.meta.url));

/** What denow may use beside curl, npm and Deno. */
const BASICS = (
  "sh cat chmod cmp find grep gzip head ls mkdir mktemp mv od readlink rm sha256sum tail tar touch tr uname"
).split(" ");

export function programPath(name: string): string | undefined {
  return ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map((folder) => `${folder}/${name}`)
    .find((path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    });
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A copy of what denow needs of this repository, with a HOME and a PATH of its own. */
export class Checkout implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "denow-" });
  readonly home = `${this.folder}/home`;
  readonly bin = `${this.folder}/bin`;
  readonly repository = `${this.folder}/re po`;
  readonly state = `${this.repository}/.denow`;

  constructor(programs: readonly string[] = []) {
    for (const folder of [this.home, this.bin, `${this.repository}/.ci/npm`]) {
      Deno.mkdirSync(folder, { recursive: true });
    }
    for (const file of ["denow", "deno.json", ".ci/npm/std_fs.ts", ".ci/npm/std_log.ts"]) {
      const mode = file === "denow" ? "755" : "644";
      copyExecutable(ROOT + file, `${this.repository}/${file}`, mode);
    }
    for (const name of [...BASICS, ...programs]) {
      const path = programPath(name);
      if (path === undefined) throw new Error(`Cannot test denow: no ${name} on this machine`);
      Deno.symlinkSync(path, `${this.bin}/${name}`);
    }
  }

  async denow(
    args: readonly string[],
    env: Record<string, string> = {},
    cwd = this.repository,
  ): Promise<Outcome> {
    return await this.run(`${this.repository}/denow`, args, env, cwd);
  }

  async run(
    program: string,
    args: readonly string[],
    env: Record<string, string>,
    cwd: string,
  ): Promise<Outcome> {
    const command = new Deno.Command(program, {
      args: [...args],
      cwd,
      clearEnv: true,
      env: { HOME: this.home, PATH: this.bin, NO_COLOR: "1", ...env },
    });
    const { code, stdout, stderr } = await command.output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** Puts a program there that is installed already, so that a case need not install it. */
  script(path: string, text: string): void {
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    writeExecutable(path, `#!/bin/sh\n${text}\n`);
  }

  kept(): string[] {
    try {
      return [...Deno.readDirSync(this.state)].map(({ name }) => name).sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}
