/** The addresses of one network for a test, with the built-in host-local. */
import { assertEquals } from "@std/assert";
import { inTempDir } from "../temp_dir.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { type Answer, callBuiltin, resultOf } from "../root/builtin_call.ts";

const NETWORK = "web";

/** A directory that host-local keeps its addresses in. */
export class Addresses {
  constructor(readonly dir: string, readonly subnet = "10.1.2.0/24") {}

  call(verb: Verb, id: string, args = "", more = {}): Promise<Answer> {
    return callBuiltin("host-local", {
      verb,
      containerId: id,
      netns: "/nowhere/pod",
      ifName: "eth0",
      args,
      config: {
        cniVersion: "1.1.0",
        name: NETWORK,
        type: "bridge",
        ipam: { type: "host-local", dataDir: this.dir, subnet: this.subnet },
        ...more,
      },
    });
  }

  /** Returns the address that an ADD gives. */
  async add(id: string, args = ""): Promise<string> {
    const { ips = [] } = resultOf(await this.call("ADD", id, args));
    return ips.map(({ address }) => address.split("/")[0]).join();
  }

  async done(verb: Verb, id: string): Promise<void> {
    const answer = await this.call(verb, id);
    assertEquals(answer.code, 0, JSON.stringify(answer.document));
  }

  async refusal(verb: Verb, id: string): Promise<string> {
    const { code, document } = await this.call(verb, id);
    assertEquals(code, 1);
    return document.msg;
  }

  async gc(valid: readonly string[]): Promise<void> {
    const attachments = valid.map((containerID) => ({ containerID, ifname: "eth0" }));
    const answer = await this.call("GC", "", "", { "cni.dev/valid-attachments": attachments });
    assertEquals(answer.code, 0, JSON.stringify(answer.document));
  }

  path(name: string): string {
    return `${this.dir}/${NETWORK}/${name}`;
  }

  /** Makes or replaces an address file as the original plugin does. */
  async foreign(address: string, text: string): Promise<void> {
    await Deno.mkdir(this.path("."), { recursive: true });
    await Deno.remove(this.path(address)).catch(() => {});
    await Deno.writeTextFile(this.path(address), text, { createNew: true });
  }

  /** The texts of the address files. */
  reserved(): Record<string, string> {
    const names = namesIn(this.path(".")).filter((name) => name !== "lock" && !name.startsWith("last_"));
    return Object.fromEntries(names.map((name) => [name, Deno.readTextFileSync(this.path(name))]));
  }

  /** The names of all links. */
  links(): string[] {
    const root = `${this.dir}/.podwire/${NETWORK}`;
    return namesIn(root).flatMap((bucket) => namesIn(`${root}/${bucket}`)).sort();
  }
}

function namesIn(dir: string): string[] {
  return Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();
}

/** Runs a test with addresses of its own. */
export function withAddresses(fn: (addresses: Addresses) => Promise<void>): () => Promise<void> {
  return () => inTempDir((dir) => fn(new Addresses(dir)));
}
